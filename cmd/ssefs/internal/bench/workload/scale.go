package workload

// Scale says how much the workloads do.
type Scale struct {
	Sequential int64 // bytes of the file that is written and read in order
	RandomFile int64 // bytes of the file that is read and written at random
	RandomOps  int   // blocks read, and blocks written before one fsync
	SyncedOps  int   // blocks written with fdatasync each
	Files      int   // small files
}

// Full is the scale whose numbers are worth keeping.
func Full() Scale {
	return Scale{
		Sequential: 512 << 20, RandomFile: 256 << 20, RandomOps: 20000, SyncedOps: 1000, Files: 10000,
	}
}

// Quick is a scale that shows in seconds whether everything works.
func Quick() Scale {
	return Scale{
		Sequential: 16 << 20, RandomFile: 16 << 20, RandomOps: 1000, SyncedOps: 100, Files: 500,
	}
}
