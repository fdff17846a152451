package transport

import (
	"fmt"
	"unsafe"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// replayInit lets a protocol server answer the INIT that the Server has
// answered, so that it knows what was agreed: layouts of requests depend on it.
func replayInit(protocol *gofuse.ProtocolServer, settings *gofuse.InitIn) error {
	in := unsafe.Slice((*byte)(unsafe.Pointer(settings)), unsafe.Sizeof(*settings))
	out := make([]byte, unsafe.Sizeof(gofuse.OutHeader{})+unsafe.Sizeof(gofuse.InitOut{}))
	n, status := protocol.HandleRequest([][]byte{in}, [][]byte{out})
	header := (*gofuse.OutHeader)(unsafe.Pointer(&out[0]))
	if !status.Ok() || n != len(out) || header.Status != 0 {
		return fmt.Errorf("INIT for rings: %v, %d bytes, error %d", status, n, header.Status)
	}
	return nil
}
