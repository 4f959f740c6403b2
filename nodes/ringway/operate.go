package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/edge"
	"github.com/ringway-im/ringway/nodes/store/edgestore"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
)

// hubGroup is what stands under ringway hub; without a word it runs one.
type hubGroup struct {
	Run     hubCmd        `cmd:"" default:"withargs" help:"Run a hub (the default)."`
	Backup  hubBackupCmd  `cmd:"" help:"Copy the store of the hub that runs into a new folder of its machine."`
	Restore hubRestoreCmd `cmd:"" help:"Put a backup where this hub's store is to be. The hub must not run."`
	Repair  hubRepairCmd  `cmd:"" help:"Put what can be read of a damaged store where this hub's store is to be. The hub must not run."`
}

// edgeGroup is what stands under ringway edge; without a word it runs one.
type edgeGroup struct {
	Run     edgeCmd        `cmd:"" default:"withargs" help:"Run the edge beside an SMSC (the default)."`
	Replace edgeReplaceCmd `cmd:"" help:"At the hub: an edge's data is lost; take the next one that comes under its id, and send it all that was not final."`
	Backup  edgeBackupCmd  `cmd:"" help:"Copy the journal of the edge that runs into a new folder of its machine."`
	Restore edgeRestoreCmd `cmd:"" help:"Put a backup where this edge's journal is to be. The edge must not run."`
	Repair  edgeRepairCmd  `cmd:"" help:"Put what can be read of a damaged journal where this edge's journal is to be. The edge must not run."`
}

type hubBackupCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The hub's configuration."`
	Dir    string `arg:"" help:"A folder that does not exist yet."`
}

type hubRestoreCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The hub's configuration."`
	Dir    string `arg:"" help:"The backup."`
}

type hubRepairCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The hub's configuration."`
	Dir    string `arg:"" help:"The damaged data directory, moved away; it stays as it is."`
}

type edgeReplaceCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The configuration of the hub, which must run."`
	ID     string `arg:"" help:"The edge's id."`
}

type edgeBackupCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The edge's configuration."`
	Dir    string `arg:"" help:"A folder that does not exist yet."`
}

type edgeRestoreCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The edge's configuration."`
	Dir    string `arg:"" help:"The backup."`
}

// Run asks the hub.
func (c *hubBackupCmd) Run(to streams) error {
	return askHub(to, c.Config, "/v1/admin/backup", c.Dir)
}

// Run asks the hub.
func (c *edgeReplaceCmd) Run(to streams) error {
	return askHub(to, c.Config, "/v1/admin/edges/"+url.PathEscape(c.ID)+"/replace", "")
}

// Run copies the backup and marks the copy.
func (c *hubRestoreCmd) Run(to streams) error {
	cfg, err := config.LoadHub(c.Config)
	if err != nil {
		return err
	}
	if err := hubstore.Restore(c.Dir, cfg.DataDir, time.Now()); err != nil {
		return fmt.Errorf("ringway hub restore: %w", err)
	}
	fmt.Fprintf(to.out, "%s restored: start the hub; each edge joins it anew\n", cfg.DataDir)
	return nil
}

// Run copies what can be read, and says what cannot.
func (c *hubRepairCmd) Run(to streams) error {
	cfg, err := config.LoadHub(c.Config)
	if err != nil {
		return err
	}
	slots := map[string]uint32{}
	for _, e := range cfg.Edges {
		slots[e.ID] = uint32(e.Ring.Slots)
	}
	lost, err := hubstore.Repair(c.Dir, cfg.DataDir, func(edge string) uint32 { return slots[edge] }, time.Now())
	if err != nil {
		return fmt.Errorf("ringway hub repair: %w", err)
	}
	for _, l := range lost {
		fmt.Fprintln(to.out, "lost:", hubstore.Describe(l))
	}
	fmt.Fprintf(to.out, "%s repaired: start the hub; each edge joins it anew\n", cfg.DataDir)
	return nil
}

// Run asks the edge.
func (c *edgeBackupCmd) Run(to streams) error {
	cfg, err := config.LoadEdge(c.Config)
	if err != nil {
		return err
	}
	return order(to, cfg.HTTP.Listen, filepath.Join(cfg.DataDir, edge.TokenFile), edge.BackupPath, c.Dir)
}

// Run copies the backup and marks the copy.
func (c *edgeRestoreCmd) Run(to streams) error {
	cfg, err := config.LoadEdge(c.Config)
	if err != nil {
		return err
	}
	if err := edgestore.Restore(c.Dir, cfg.DataDir, cfg.ID); err != nil {
		return fmt.Errorf("ringway edge restore: %w", err)
	}
	fmt.Fprintf(to.out, "%s restored: start the edge; it submits nothing before it has reached its hub\n", cfg.DataDir)
	return nil
}

type edgeRepairCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The edge's configuration."`
	Dir    string `arg:"" help:"The damaged data directory, moved away; it stays as it is."`
}

// Run copies what can be read, and says what cannot.
func (c *edgeRepairCmd) Run(to streams) error {
	cfg, err := config.LoadEdge(c.Config)
	if err != nil {
		return err
	}
	r, err := edgestore.Repair(c.Dir, cfg.DataDir, cfg.ID)
	if err != nil {
		return fmt.Errorf("ringway edge repair: %w", err)
	}
	for _, l := range r.Lost {
		fmt.Fprintln(to.out, "lost:", edgestore.Describe(l))
	}
	fmt.Fprintf(to.out, "%s repaired: start the edge; it submits nothing before its hub has sent it what is missing\n", cfg.DataDir)
	if r.Anew {
		fmt.Fprintf(to.out, "what says which journal this was is lost: it is a new one to the hub; once that refuses it run there: ringway edge replace %s\n", cfg.ID)
	}
	return nil
}

func askHub(to streams, file, path, dir string) error {
	cfg, err := config.LoadHub(file)
	if err != nil {
		return err
	}
	return order(to, cfg.HTTP.Listen, cfg.Admin.TokenFile, path, dir)
}

// order has the node that runs on this machine do something.
func order(to streams, listen, tokenFile, path, dir string) error {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return fmt.Errorf("ringway: %w; is this the machine of the node, and did it ever run?", err)
	}
	body := map[string]string{}
	if dir != "" {
		if body["dir"], err = filepath.Abs(dir); err != nil {
			return fmt.Errorf("ringway: %w", err)
		}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("ringway: %w", err)
	}
	if strings.HasPrefix(listen, ":") || strings.HasPrefix(listen, "0.0.0.0:") {
		listen = "127.0.0.1" + listen[strings.LastIndex(listen, ":"):]
	}
	request, err := http.NewRequest(http.MethodPost, "http://"+listen+path, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("ringway: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ringway: %w; the node must run", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("ringway: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ringway: the node answers %s: %s", response.Status, bytes.TrimSpace(answer))
	}
	fmt.Fprintf(to.out, "%s\n", bytes.TrimSpace(answer))
	return nil
}
