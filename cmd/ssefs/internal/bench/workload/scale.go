package workload

// Scale says how much the workloads do.
type Scale struct {
	Sequential   int64 // bytes of the file that is written and read in order
	RandomFile   int64 // bytes of the file that is read and written at random
	RandomOps    int   // blocks read, and blocks written before one fsync
	SyncedOps    int   // blocks written with fdatasync each
	Files        int   // small files
	TreeFiles    int   // files of the source tree at most
	Transactions int   // of SQL
	Packages     int   // of the Go program that is built
	ReaderBytes  int64 // that each of the parallel readers reads
	Latencies    int   // samples of each operation
	Beside       int64 // bytes at most that are written while latencies are sampled
}

// Full is the scale whose numbers are worth keeping.
func Full() Scale {
	return Scale{
		Sequential: 512 << 20, RandomFile: 256 << 20, RandomOps: 20000, SyncedOps: 1000, Files: 10000, TreeFiles: 20000,
		Transactions: 2000, Packages: 30, ReaderBytes: 1 << 20, Latencies: 2000, Beside: 2 << 30,
	}
}

// Quick is a scale that shows in seconds whether everything works.
func Quick() Scale {
	return Scale{
		Sequential: 8 << 20, RandomFile: 8 << 20, RandomOps: 500, SyncedOps: 100, Files: 500, TreeFiles: 500,
		Transactions: 100, Packages: 3, ReaderBytes: 64 << 10, Latencies: 100, Beside: 64 << 20,
	}
}
