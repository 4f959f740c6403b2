package hub

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
)

// Errors of a login.
var (
	ErrWrongPassword = errors.New("hub: wrong user or password")
	ErrNotSignedIn   = errors.New("hub: token is unknown or has expired")
)

// ErrTooManyLogins: too many wrong passwords; wait.
type ErrTooManyLogins struct{ Retry time.Duration }

func (e *ErrTooManyLogins) Error() string {
	return fmt.Sprintf("hub: too many wrong passwords: try again in %v", e.Retry)
}

// tokenLife is how long a login lasts.
const tokenLife = 24 * time.Hour

// Login checks a password and returns a token for Authenticate. address is
// whom wrong passwords are counted against beside the user. The error may be
// ErrWrongPassword or *ErrTooManyLogins.
func (h *Hub) Login(ctx context.Context, name, password, address string) (token string, expires time.Time, err error) {
	name = strings.ToLower(name)
	if err := h.logins.enter(ctx); err != nil {
		return "", expires, err
	}
	defer h.logins.leave()
	now := h.now()
	keys := []string{"user " + name, "address " + address}
	if wait := h.logins.wait(now, keys); wait > 0 {
		h.metrics.login("limited")
		return "", expires, &ErrTooManyLogins{wait}
	}
	user, _, err := h.store.User(name)
	if err != nil {
		return "", expires, h.failed(err)
	}
	if err := h.checkPassword(ctx, name, password, user.Password); err != nil {
		if errors.Is(err, ErrWrongPassword) {
			h.logins.count(now, keys)
			h.metrics.login("wrong")
		}
		return "", expires, err
	}
	if user.Name == "" { // the authenticator knows more people than the hub
		if _, err := h.putUser(ctx, name, nil); err != nil {
			return "", expires, err
		}
	}
	h.metrics.login("ok")
	expires = now.Add(tokenLife).Truncate(time.Second)
	return h.sessions.sign(name, user.Password, expires), expires, nil
}

func (h *Hub) checkPassword(ctx context.Context, name, password string, hash []byte) error {
	if h.authenticator != nil {
		return h.authenticator(ctx, name, password)
	}
	if len(hash) == 0 {
		_ = bcrypt.CompareHashAndPassword(h.noPassword, []byte(password))
		return ErrWrongPassword
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
		return ErrWrongPassword
	}
	return nil
}

// Authenticate returns the user of a token, or ErrNotSignedIn.
func (h *Hub) Authenticate(token string) (user string, err error) {
	name, ok := sessionUser(token)
	if !ok {
		return "", ErrNotSignedIn
	}
	u, ok, err := h.store.User(name)
	if err != nil {
		return "", h.failed(err)
	}
	if !ok || !h.sessions.valid(token, name, u.Password, h.now()) {
		return "", ErrNotSignedIn
	}
	return name, nil
}

// IsAdmin says whether a token is the administrator's.
func (h *Hub) IsAdmin(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(h.adminToken)) == 1
}

// sessions makes tokens that need no memory: base64url of expiry, user and a
// signature over both and the password's hash, so that they outlive a restart
// and end with the password.
type sessions struct{ key []byte }

func (s sessions) sign(name string, password []byte, expires time.Time) string {
	body := append(binary.BigEndian.AppendUint64(nil, uint64(expires.Unix())), name...)
	return base64.RawURLEncoding.EncodeToString(append(s.mac(body, password), body...))
}

func (s sessions) mac(body, password []byte) []byte {
	sum := sha256.Sum256(password)
	mac := hmac.New(sha256.New, s.key)
	mac.Write(sum[:])
	mac.Write(body)
	return mac.Sum(nil)
}

const (
	macSize    = sha256.Size
	expirySize = 8
)

// sessionUser reads whom a token claims to be; valid says whether it may.
func sessionUser(token string) (name string, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) <= macSize+expirySize || len(raw) > macSize+expirySize+32 {
		return "", false
	}
	return string(raw[macSize+expirySize:]), true
}

func (s sessions) valid(token, name string, password []byte, now time.Time) bool {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != macSize+expirySize+len(name) {
		return false
	}
	mac, body := raw[:macSize], raw[macSize:]
	return hmac.Equal(mac, s.mac(body, password)) && now.Unix() < int64(binary.BigEndian.Uint64(body))
}

// logins bounds what guessing passwords costs and yields: as many checks at
// once as there are cores, and so many wrong ones a minute for each key.
type logins struct {
	turn      chan struct{}
	perMinute float64

	mu      sync.Mutex
	buckets map[string]bucket
}

// bucket holds what is left at a time; it fills again with perMinute.
type bucket struct {
	left float64
	at   time.Time
}

func newLogins(perMinute int) *logins {
	return &logins{turn: make(chan struct{}, runtime.GOMAXPROCS(0)), perMinute: float64(perMinute), buckets: map[string]bucket{}}
}

func (l *logins) enter(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hub: waiting for other logins: %w", ctx.Err())
	}
}

func (l *logins) leave() { <-l.turn }

// wait returns how long it is until all keys have something left; 0: they have.
func (l *logins) wait(now time.Time, keys []string) (longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		if left := l.left(now, key); left < 1 {
			longest = max(longest, time.Duration((1-left)/l.perMinute*float64(time.Minute)))
		}
	}
	return longest
}

// count takes one from each key.
func (l *logins) count(now time.Time, keys []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		l.buckets[key] = bucket{l.left(now, key) - 1, now}
	}
	if len(l.buckets) > 10_000 {
		for key := range l.buckets {
			if l.left(now, key) >= l.perMinute {
				delete(l.buckets, key)
			}
		}
	}
}

func (l *logins) left(now time.Time, key string) float64 {
	b, ok := l.buckets[key]
	if !ok {
		return l.perMinute
	}
	return min(l.perMinute, b.left+now.Sub(b.at).Minutes()*l.perMinute)
}

// secretFile reads a secret, or makes one that only its owner can read.
func secretFile(path string, log *zap.Logger) (string, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var random [32]byte
		_, _ = rand.Read(random[:]) // never fails
		secret := hex.EncodeToString(random[:])
		return secret, writeSecret(path, secret)
	}
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(raw))
	if len(secret) < 16 {
		return "", fmt.Errorf("%s holds %d characters: give at least 16, or delete it and a new one is made", path, len(secret))
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		log.Warn("others can read a secret: chmod 600", zap.String("file", path))
	}
	return secret, nil
}

// writeSecret leaves the whole file or none, on disk.
func writeSecret(path, secret string) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(secret + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
