// Package model holds an in-memory reference model of POSIX file semantics and the random test that compares a mounted
// drive with it.
//
// The model has two halves. [FS] says what every operation answers and what the tree looks like afterwards; its states
// are persistent values, so that keeping one state per operation costs little. [History] says what a drive may hold
// after its daemon was killed: a namespace that is one of the past states, not older than the last one acknowledged as
// durable, and files that are as the daemon had them at one moment.
//
// The test (TestModel) draws operations at random, does each of them on the model and on the drive, compares the
// answers, and compares the whole trees every few steps, after every remount and after every kill of the daemon. With
// SSEFS_E2E_NATIVE=dir it runs on an ordinary directory, which validates the model against the kernel's own file
// systems; nothing is remounted or killed then.
//
// Bounds: the default form takes less than a minute. SSEFS_E2E_MODEL_TIME (a Go duration) lengthens it, rapid's flags
// (-rapid.seed, -rapid.steps, -rapid.failfile) work as usual.
package model
