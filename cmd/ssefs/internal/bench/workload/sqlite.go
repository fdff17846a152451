package workload

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"ssefs/cmd/ssefs/internal/bench/pattern"
)

// sqlite inserts rows into a database, each in a transaction of its own that is safe when it ends.
func sqlite(label, mode string) Workload {
	row := Row{Name: "sqlite-" + label, Title: "sqlite transactions, " + label, Unit: PerSecond}
	return Workload{
		Name:  "sqlite-" + label,
		Rows:  []Row{row},
		Tools: []string{"sqlite3"},
		run: func(ctx context.Context, e *Env) error {
			db := filepath.Join(e.Dir, "database")
			begin := "PRAGMA journal_mode = " + mode + "; PRAGMA synchronous = FULL;\n"
			if _, err := sqlite3(ctx, e.Dir, db, begin+"CREATE TABLE t(n INTEGER PRIMARY KEY, text TEXT);"); err != nil {
				return err
			}
			n := e.Scale.Transactions
			var script strings.Builder
			script.WriteString(begin)
			for i := range n {
				fmt.Fprintf(&script, "INSERT INTO t VALUES(%d, '%s');\n", i, rowText(i))
			}
			if err := e.timed(row, amount{ops: int64(n), written: int64(n) * rowBytes}, func() error {
				_, err := sqlite3(ctx, e.Dir, db, script.String())
				return err
			}); err != nil {
				return err
			}
			if err := e.Cold(ctx); err != nil {
				return err
			}
			got, err := sqlite3(ctx, e.Dir, db, "PRAGMA integrity_check; SELECT n, text FROM t ORDER BY n;")
			if err != nil {
				return err
			}
			var want strings.Builder
			want.WriteString("ok\n")
			for i := range n {
				fmt.Fprintf(&want, "%d|%s\n", i, rowText(i))
			}
			if got != want.String() {
				return fmt.Errorf("%w: the database holds %d bytes of rows, not the %d that were inserted", pattern.ErrWrong, len(got), want.Len())
			}
			return nil
		},
	}
}

// rowBytes is the length of the text in a row.
const rowBytes = 100

func rowText(i int) string { return fmt.Sprintf("%0*d", rowBytes, i*i) }

func sqlite3(ctx context.Context, dir, db, script string) (string, error) {
	out, err := output(ctx, dir, nil, script, "sqlite3", "-batch", "-bail", "-init", "/dev/null", db)
	return string(out), err
}
