package cluster

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/memberlist"
)

// LoadKeys reads a file with gossip keys: 16, 24 or 32 octets (AES-128, -192, -256)
// in base64, one a line; empty lines and those that begin with # are skipped. The
// first encrypts, all are accepted.
func LoadKeys(file string) ([][]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cluster: gossip keys: %w", err)
	}
	var keys [][]byte
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return nil, fmt.Errorf("cluster: gossip keys: %s:%d: no base64; make a key with: head -c 32 /dev/urandom | base64", file, n)
		}
		if err := memberlist.ValidateKey(key); err != nil {
			return nil, fmt.Errorf("cluster: gossip keys: %s:%d: the key has %d octets, 16, 24 or 32 are needed; make one with: head -c 32 /dev/urandom | base64", file, n, len(key))
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("cluster: gossip keys: %s has none; make one with: head -c 32 /dev/urandom | base64 > %s", file, file)
	}
	return keys, nil
}

// rekey makes ring use keys[0] and accept no others than keys.
func rekey(ring *memberlist.Keyring, keys [][]byte) error {
	for _, key := range keys {
		if err := ring.AddKey(key); err != nil {
			return fmt.Errorf("cluster: gossip key: %w", err)
		}
	}
	if err := ring.UseKey(keys[0]); err != nil {
		return fmt.Errorf("cluster: gossip key: %w", err)
	}
	for _, old := range ring.GetKeys() {
		if !contains(keys, old) {
			if err := ring.RemoveKey(old); err != nil {
				return fmt.Errorf("cluster: gossip key: %w", err)
			}
		}
	}
	return nil
}

func contains(keys [][]byte, key []byte) bool {
	for _, k := range keys {
		if bytes.Equal(k, key) {
			return true
		}
	}
	return false
}
