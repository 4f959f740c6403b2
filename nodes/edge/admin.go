package edge

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// What an operator on the edge's machine asks of it. Whoever can read TokenFile in
// its data directory may; it is made if absent.
const (
	TokenFile  = "admin.token"
	BackupPath = "/v1/admin/backup" // POST {"dir": "absolute path"}
)

func makeToken(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, TokenFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	_, err = f.WriteString(rand.Text() + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	return nil
}

func (e *Edge) backup(w http.ResponseWriter, r *http.Request) {
	token, err := os.ReadFile(filepath.Join(e.cfg.DataDir, TokenFile))
	given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	want := strings.TrimSpace(string(token))
	if err != nil || len(want) < 16 || subtle.ConstantTimeCompare([]byte(want), []byte(given)) != 1 {
		reply(w, http.StatusUnauthorized, map[string]any{"error": "give the token in " + TokenFile + " of the edge's data_dir"})
		return
	}
	var body struct {
		Dir string `json:"dir"`
	}
	switch err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&body); {
	case err != nil:
		reply(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
	case !filepath.IsAbs(body.Dir):
		reply(w, http.StatusBadRequest, map[string]any{"error": "dir: give an absolute path"})
	default:
		if err := e.Backup(body.Dir); err != nil {
			reply(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
			return
		}
		reply(w, http.StatusOK, map[string]any{"status": "done"})
	}
}
