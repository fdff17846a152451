// Package daemon is the life of a mount: from the command that starts it, over the process in the
// background that serves the drive, to the closed store.
//
// Start re-executes the program as a new session leader and hands it the configuration and the secret through
// a pipe, never through arguments or the environment. The child tells through a second pipe what it waits for,
// and then that the drive is usable or why it is not; Start returns with that. Serve is the child's work, and that of
// a mount in the foreground.
//
// The order of a mount: start the attendant, lock the store, open it, listen on the control socket, put the socket into
// the lock file, mount, enter the sandbox, serve. The order of the end: unmounted (by whoever), socket removed, volume and
// database closed, lock released, those who wait on the control socket told. So whoever finds the lock free finds a closed store.
//
// The daemon never touches files of its own mount: a page fault or a system call of its own that waits for
// itself would never end. What must touch the mount is the attendant's, and so is what the sandbox does not allow.
package daemon
