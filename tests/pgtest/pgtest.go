//go:build unix

// Package pgtest runs a PostgreSQL server of its own for tests: in a temporary
// directory, on a port of its own of the loopback address, with fsync on, until the
// test program ends. Each test has a database of its own.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ringway-im/ringway/tests/need"
	"github.com/ringway-im/ringway/tests/port"
)

// Server is a PostgreSQL server.
type Server struct {
	dir, bin string
	port     int
	as       *syscall.Credential // nil: this user

	mu    sync.Mutex
	proc  *exec.Cmd     // nil: it is stopped
	ended chan struct{} // closed when proc has
}

var (
	mu     sync.Mutex
	shared *Server
	why    error
	made   atomic.Int64
)

// Run runs a package's tests and removes the shared server after them:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
func Run(m *testing.M) int {
	code := m.Run()
	mu.Lock()
	defer mu.Unlock()
	if shared != nil {
		shared.remove()
	}
	return code
}

// Shared returns the test program's server, started by the first call; its tests are
// run by Run. Nobody stops it.
func Shared(t testing.TB) *Server {
	t.Helper()
	find(t)
	mu.Lock()
	defer mu.Unlock()
	if shared == nil && why == nil {
		shared, why = start()
	}
	if why != nil {
		t.Fatal(why)
	}
	return shared
}

// New returns a server for this test alone, which it may stop and start.
func New(t testing.TB) *Server {
	t.Helper()
	find(t)
	s, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.remove)
	return s
}

// find skips the test where PostgreSQL is not installed.
func find(t testing.TB) {
	t.Helper()
	if _, err := binaries(); err != nil {
		need.Lack(t, "%v", err)
	}
}

func binaries() (dir string, err error) {
	var places []string
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			places = append(places, filepath.Dir(p))
		}
	}
	versions, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Reverse(versions)
	for _, dir := range append(append(places, "/usr/local/bin"), versions...) {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("it needs PostgreSQL's server (initdb and postgres): install the package postgresql")
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

func start() (*Server, error) {
	s, err := place()
	if err != nil {
		return nil, err
	}
	if out, err := s.initdb().CombinedOutput(); err != nil {
		s.remove()
		return nil, fmt.Errorf("pgtest: initdb: %w: %s", err, out)
	}
	if err := s.begin(); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

func (s *Server) initdb() *exec.Cmd {
	return s.command("initdb", "--pgdata", s.data(), "--username", "ringway", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
}

// begin starts the server for the first time: nobody knows its port yet, so that it can
// have another one if some other program was faster.
func (s *Server) begin() error {
	for try := 1; ; try++ {
		err := s.Start()
		if !errors.Is(err, errEnded) || try == 5 {
			return err
		}
		if s.port, err = port.Free(); err != nil {
			return fmt.Errorf("pgtest: %w", err)
		}
	}
}

// place is a folder, a port and a user for a server that is yet to be made.
func place() (s *Server, err error) {
	s = &Server{}
	if s.bin, err = binaries(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "ringway-pg-"); err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	if os.Geteuid() == 0 { // the server refuses root
		for _, name := range []string{"postgres", "nobody"} {
			if u, err := user.Lookup(name); err == nil {
				uid, _ := strconv.ParseUint(u.Uid, 10, 32)
				gid, _ := strconv.ParseUint(u.Gid, 10, 32)
				s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
				break
			}
		}
		if s.as == nil {
			return nil, fmt.Errorf("pgtest: the server refuses root, and there is neither a user postgres nor nobody")
		}
		if err := os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return nil, fmt.Errorf("pgtest: %w", err)
		}
	}
	if s.port, err = port.Free(); err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	return s, nil
}

// Standby makes a synchronous standby: from now on each commit of s waits until the
// standby has it on its disk.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	b, err := place()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.remove)
	from := fmt.Sprintf("host=127.0.0.1 port=%d user=ringway application_name=standby", s.port)
	if out, err := b.command("pg_basebackup", "--pgdata", b.data(), "--dbname", from, "--write-recovery-conf", "--checkpoint", "fast", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("pgtest: pg_basebackup: %v: %s", err, out)
	}
	if err := b.begin(); err != nil {
		t.Fatal(err)
	}
	s.exec(t, "ALTER SYSTEM SET synchronous_standby_names = 'standby'")
	s.exec(t, "SELECT pg_reload_conf()")
	for deadline := time.Now().Add(30 * time.Second); s.exec(t, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'") == 0; {
		if time.Now().After(deadline) {
			t.Fatal("pgtest: the standby does not follow")
		}
		<-time.After(20 * time.Millisecond)
	}
	return b
}

// Promote makes a standby the server that takes writes.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.exec(t, "SELECT pg_promote()")
}

// exec returns how many rows there are.
func (s *Server) exec(t testing.TB, query string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.dsn("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	done, err := conn.Exec(ctx, query)
	if err != nil {
		t.Fatalf("pgtest: %s: %v", query, err)
	}
	return done.RowsAffected()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), "LC_ALL=C")
	c.SysProcAttr = attributes(s.as)
	return c
}

// errEnded: the server did not stay, for want of its port, say.
var errEnded = errors.New("pgtest: the server has ended")

// Start starts the server after Stop and waits until it answers.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		return nil
	}
	log := &bytes.Buffer{}
	c := s.command("postgres", "-D", s.data(), "-p", strconv.Itoa(s.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200",
		"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "shared_buffers=128MB", "-c", "max_wal_size=1GB", "-c", "log_min_messages=warning")
	c.Stderr = log
	started, ended := make(chan error, 1), make(chan struct{})
	go s.keep(c, started, ended)
	if err := <-started; err != nil {
		return fmt.Errorf("pgtest: starting the server: %w", err)
	}
	s.proc, s.ended = c, ended
	for deadline := time.Now().Add(2 * time.Minute); ; {
		err := s.answers()
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			s.proc = nil
			return fmt.Errorf("%w: %s", errEnded, log)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("pgtest: the server does not answer: %w", err)
		}
	}
}

// answers: it is this server that does, and no other one at its port.
func (s *Server) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.dsn("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var dir string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&dir); err != nil {
		return err
	}
	if dir != s.data() {
		return fmt.Errorf("pgtest: at port %d is the server of %s", s.port, dir)
	}
	return nil
}

// Stop has the server drop everything at once, as if it had crashed.
func (s *Server) Stop() { s.end(syscall.SIGQUIT) }

// Shutdown has it end sessions and shut down in order.
func (s *Server) Shutdown() { s.end(syscall.SIGINT) }

func (s *Server) end(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return
	}
	_ = s.proc.Process.Signal(signal)
	<-s.ended
	s.proc = nil
}

func (s *Server) remove() {
	s.Stop()
	_ = os.RemoveAll(s.dir)
}

func (s *Server) dsn(database string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=ringway dbname=%s sslmode=disable", s.port, database)
}

// PID is the server's main process, the parent of its others; 0: it is stopped.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.Process.Pid
}

// Address is where the server listens.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Database makes an empty database and returns its DSN.
func (s *Server) Database(t testing.TB) (dsn string) {
	t.Helper()
	name := fmt.Sprintf("test_%d", made.Add(1))
	s.exec(t, "CREATE DATABASE "+name)
	return s.dsn(name)
}

// Either is the DSN of a database of s that goes on at standby after a fail-over.
func (s *Server) Either(database string, standby *Server) (dsn string) {
	return strings.Replace(strings.Replace(database, "host=127.0.0.1", "host=127.0.0.1,127.0.0.1", 1),
		fmt.Sprintf("port=%d", s.port), fmt.Sprintf("port=%d,%d", s.port, standby.port), 1)
}
