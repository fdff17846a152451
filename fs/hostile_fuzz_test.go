package fs

import (
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ssefs/fs/record"
)

// FuzzRequests sends whatever an input makes to a new drive, and wants it whole afterwards. See hostileKernel and step.
func FuzzRequests(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomInput(seed))
	}
	log.SetOutput(io.Discard) // go-fuse prints requests that are too short past its logger
	f.Cleanup(func() { log.SetOutput(os.Stderr) })
	f.Fuzz(func(t *testing.T, input []byte) { hostile(t, input) })
}

// hostile sends the requests of inputs, which do not wait for one another, to a drive that has something of everything.
func hostile(t testing.TB, inputs ...[]byte) {
	limitTime(t)
	k := newHostileKernel(t)
	k.furnish()
	var all sync.WaitGroup
	for _, input := range inputs {
		all.Go(func() { k.run(input) })
	}
	all.Wait()
	k.finish()
}

// requestSeeds says how many random sequences to try in the place of some dozens.
const requestSeeds = "SSEFS_REQUEST_SEEDS"

// TestHostileRequests sends random sequences of requests.
func TestHostileRequests(t *testing.T) {
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	seeds := 40
	if s := os.Getenv(requestSeeds); s != "" {
		var err error
		if seeds, err = strconv.Atoi(s); err != nil {
			t.Fatalf("%s: %v", requestSeeds, err)
		}
	}
	for seed := range uint64(seeds) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { hostile(t, randomInput(seed)) })
		// The kernel lets nobody change a directory while somebody else does: here everybody may.
		t.Run(fmt.Sprint(seed, " and others"), func(t *testing.T) {
			inputs := make([][]byte, 6)
			for i := range inputs {
				inputs[i] = randomInput(seed<<8 | uint64(i))
			}
			hostile(t, inputs...)
		})
	}
}

// randomInput makes an input in which most requests are well-formed.
func randomInput(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	b := make([]byte, stepSize*(20+r.IntN(maxSteps-20)))
	for i := range b {
		limit := 256
		if r.IntN(8) > 0 { // what a kernel might send
			limit = [stepSize]int{
				atOp: 240, atManner: 2, atNode: 150, atNode2: 150, atName: 200, atName2: 200, atHandle: 150, atHandle2: 150, atOffset: 13,
				atOffset2: 13, atLength: 13, atFlags: 4, atMode: 6, atCaller: 3, atRaw: 256, atRaw2: 256,
			}[i%stepSize]
		}
		b[i] = byte(r.IntN(limit))
	}
	return b
}

// furnish makes a bucket with files under two kinds of keys, a directory, a symbolic link and a fifo, and opens some.
func (k *hostileKernel) furnish() {
	bucket := k.make(opMkdir, 1, new(fields).u32(0o755, 0).name("bucket"))
	file := k.make(opCreate, bucket, new(fields).u32(unix.O_RDWR, record.TypeFile|0o644, 0, 0).name("file"))
	k.expect(request{op: opWrite, node: file, body: writeBody(k.handles[0], 0, 0, 0, make([]byte, 10_000))})
	k.expect(request{op: opSetxattr, node: bucket, body: append(*new(fields).u32(3, 0, 0, 0).name(ssePolicy), "KMS"...)})
	dir := k.make(opMkdir, bucket, new(fields).u32(0o755, 0).name("dir"))
	k.make(opSymlink, bucket, new(fields).name("link", "file"))
	k.make(opMknod, dir, new(fields).u32(record.TypeFifo|0o600, 0, 0, 0).name("fifo"))
	k.make(opCreate, dir, new(fields).u32(unix.O_RDWR, record.TypeFile|0o644, 0, 0).name("a"))
	k.expect(request{op: opOpendir, node: bucket, body: *new(fields).u32(0, 0)})
}

// make sends a request that makes something, and returns its node.
func (k *hostileKernel) make(op uint32, dir uint64, body *fields) uint64 {
	k.Helper()
	k.expect(request{op: op, node: dir, body: *body})
	return k.nodes[len(k.nodes)-1]
}
