package backup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// hang bounds what must not wait for ever.
const hang = 2 * time.Minute

// command is a command of ours that is not waited for.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(drive.Binary(t), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	t.Cleanup(func() {
		if cmd.Process != nil && cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

// ends waits for a command, which is killed if it hangs.
func ends(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	stuck := time.AfterFunc(hang, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !stuck.Stop() {
		t.Errorf("%s did not end", cmd)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Errorf("%s: %v", cmd, err)
	}
}

// unread starts a backup to a pipe, of which n bytes are taken and then no more.
func unread(t *testing.T, d *drive.Drive, n int) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := command(t, "backup", "-", "--store", d.Store())
	out, err := cmd.StdoutPipe()
	expect.OK(t, err, "make a pipe")
	expect.OK(t, cmd.Start(), "start a backup")
	_, err = io.ReadFull(out, make([]byte, n))
	expect.OK(t, err, "read the beginning of a backup")
	return cmd, out
}

// fillBucket makes a bucket with some megabytes in it: more than pipes and buffers take.
func fillBucket(t *testing.T, d *drive.Drive) string {
	t.Helper()
	b := d.Bucket("b")
	for i := range 8 {
		expect.Write(t, filepath.Join(b, fmt.Sprint(i)), expect.Random(uint64(i), 3<<20))
	}
	return b
}

// TestKilledBackup kills the command that writes a backup, at the mercy of its reader and to a file. The drive is not bothered.
func TestKilledBackup(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := fillBucket(t, d)
	cmd, _ := unread(t, d, 1<<20)
	// It waits for its reader now; the drive does not.
	expect.Write(t, filepath.Join(b, "meanwhile"), expect.Random(9, 1<<20))
	expect.OK(t, os.Remove(filepath.Join(b, "0")), "remove a file")
	d.MustCLI("bucket", "create", "made-meanwhile")
	expect.OK(t, cmd.Process.Kill(), "kill it")
	ends(t, cmd)
	file := filepath.Join(t.TempDir(), "backup")
	cmd = command(t, "backup", file, "--store", d.Store())
	expect.OK(t, cmd.Start(), "start a backup")
	for deadline := time.Now().Add(hang); ; {
		_, partial := os.Lstat(file + ".partial")
		_, whole := os.Lstat(file)
		if partial == nil || whole == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a backup was not begun")
		}
	}
	expect.OK(t, cmd.Process.Kill(), "kill it")
	ends(t, cmd)
	args := []string{}
	if _, err := os.Lstat(file); err == nil {
		args = append(args, "--force") // it was faster than we, and then it is whole
		restore(t, d, file)
	}
	want := tree(t, b)
	backup(t, d, file, args...)
	sameTree(t, tree(t, mountRestored(t, d, restore(t, d, file)).Path("b")), want, "the next backup")
}

// TestUnmountDuringBackup: an unmount does not wait for a backup that nobody reads, and the backup says so.
func TestUnmountDuringBackup(t *testing.T) {
	d := drive.New(t, drive.Options{})
	fillBucket(t, d)
	cmd, out := unread(t, d, 4096)
	d.Unmount()
	_, err := io.Copy(io.Discard, out)
	expect.OK(t, err, "read the rest")
	ends(t, cmd)
	expect.Equal(t, cmd.ProcessState.ExitCode(), codeFailure, "exit code of a backup that was cut off")
	d.Mount()
}

// TestInterruptedBackup: SIGINT ends a backup whose reader takes nothing.
func TestInterruptedBackup(t *testing.T) {
	d := drive.New(t, drive.Options{})
	fillBucket(t, d)
	cmd, _ := unread(t, d, 4096)
	expect.OK(t, cmd.Process.Signal(os.Interrupt), "interrupt it")
	ends(t, cmd)
	expect.Equal(t, cmd.ProcessState.ExitCode(), codeFailure, "exit code of a backup that was interrupted")
}

// TestKilledRestore kills a restore in the middle. What it leaves is no store, and is started over.
func TestKilledRestore(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := fillBucket(t, d)
	want := tree(t, b)
	file := filepath.Join(t.TempDir(), "full")
	backup(t, d, file)
	whole := expect.Read(t, file)
	store := filepath.Join(drive.Dir(t), "store")
	restoring := func() (*exec.Cmd, io.WriteCloser) {
		t.Helper()
		cmd := command(t, "restore", "-", store, "--key-file", d.KeyFile())
		in, err := cmd.StdinPipe()
		expect.OK(t, err, "make a pipe")
		expect.OK(t, cmd.Start(), "start a restore")
		// Once a third is taken, some megabytes of that are in the store.
		_, err = in.Write(whole[:len(whole)/3])
		expect.OK(t, err, "write the beginning of a backup")
		return cmd, in
	}
	cmd, in := restoring()
	expect.OK(t, cmd.Process.Kill(), "kill it")
	ends(t, cmd)
	_ = in.Close()
	refused(t, codeNoStore, []string{"interrupted"}, "mount", store, drive.Dir(t), "--key-file", d.KeyFile())
	refused(t, codeNoStore, []string{"interrupted"}, "backup", file+"2", "--store", store, "--key-file", d.KeyFile())
	// One that its own input ends gives the space back, and so does one that is interrupted.
	cmd, in = restoring()
	expect.OK(t, in.Close(), "end the backup early")
	ends(t, cmd)
	expect.Equal(t, cmd.ProcessState.ExitCode(), codeDamaged, "exit code of a restore that was cut off")
	expect.Missing(t, filepath.Join(store, "db"))
	cmd, in = restoring()
	expect.OK(t, cmd.Process.Signal(unix.SIGTERM), "interrupt it")
	ends(t, cmd)
	_ = in.Close()
	expect.Equal(t, cmd.ProcessState.ExitCode(), codeFailure, "exit code of a restore that was interrupted")
	expect.Missing(t, filepath.Join(store, "db"))
	drive.Must(t, drive.Binary(t), "restore", file, store, "--key-file", d.KeyFile())
	sameTree(t, tree(t, mountRestored(t, d, store).Path("b")), want, "started over")
}

// TestDiskFull: a restore onto a disk that is too small says so, and gives its space back; so does a backup.
func TestDiskFull(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	for i := range 20 {
		expect.Write(t, filepath.Join(b, fmt.Sprint(i)), expect.Random(uint64(i), 4<<20))
	}
	file := filepath.Join(t.TempDir(), "full")
	backup(t, d, file)
	disk := drive.Dir(t)
	expect.OK(t, unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64m,mode=0755"), "mount a tmpfs")
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Errorf("unmount the tmpfs: %v", err)
			_ = unix.Unmount(disk, unix.MNT_DETACH)
		}
	})
	store := filepath.Join(disk, "store")
	refused(t, codeFailure, []string{"no space"}, "restore", file, store, "--key-file", d.KeyFile())
	refused(t, codeNoStore, nil, "mount", store, drive.Dir(t), "--key-file", d.KeyFile())
	refused(t, codeFailure, []string{"no space"}, "backup", filepath.Join(disk, "backup"), "--store", d.Store())
	expect.Missing(t, filepath.Join(disk, "backup"))
	expect.Missing(t, filepath.Join(disk, "backup.partial"))
	var st unix.Statfs_t
	expect.OK(t, unix.Statfs(disk, &st), "statfs")
	if used := (st.Blocks - st.Bfree) * uint64(st.Bsize); used > 1<<20 {
		t.Errorf("%d bytes are left on the disk", used)
	}
}
