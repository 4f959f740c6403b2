// Package config reads the YAML files of a hub and of an edge.
//
// The tags of the structures below are the rules: yaml names the key, default
// stands where the file is silent, need says what to do where it must not be,
// range bounds numbers and durations, oneof lists the words that are allowed,
// form is the syntax of a text (see forms in check.go; a path is made relative
// to the file's folder). What concerns several keys is in check.go.
//
// Each key can also be set by an environment variable: RINGWAY_LINK_TLS_CERT is
// link.tls.cert, RINGWAY_CLUSTER_JOIN=a:1,b:2 a list, RINGWAY_EDGES_0_ID
// edges[0].id. It goes before the file; an empty one counts as absent. The files
// of edges that run inside a hub (local) do not look at the environment, which
// is the hub's.
package config

import "time"

// Hub is hub.yaml.
type Hub struct {
	DataDir  string           `yaml:"data_dir" default:"hub-data" form:"path"`
	HTTP     HubHTTP          `yaml:"http"`
	Link     HubLink          `yaml:"link"`
	Admin    Admin            `yaml:"admin"`
	Store    Store            `yaml:"store"`
	Edges    []HubEdge        `yaml:"edges"`
	Cluster  *Cluster         `yaml:"cluster"` // nil: a hub alone
	Gossip   *HubGossip       `yaml:"gossip"`  // with edges over the WAN; nil: none
	Limits   Limits           `yaml:"limits"`
	Events   EventRetention   `yaml:"events"`   // what streams can go back to
	Messages MessageRetention `yaml:"messages"` // histories of messages that are final
	Log      Log              `yaml:"log"`
	Disk     Disk             `yaml:"disk"`
}

// Disk is what must stay free where data_dir is: below it nothing new is taken on.
type Disk struct {
	ReserveMB int `yaml:"reserve_mb" range:"0..1048576"` // 0: a twentieth of the file system, 256 at most
}

// Bytes is the reserve in octets.
func (d Disk) Bytes() int64 { return int64(d.ReserveMB) << 20 }

// HubHTTP is where the hub serves its API, its console, metrics and health.
type HubHTTP struct {
	Listen string `yaml:"listen" default:"127.0.0.1:8080" form:"listen"`
}

// HubLink is where edges dial in. An empty Listen means that all edges are local.
type HubLink struct {
	Listen     string `yaml:"listen" form:"listen"`
	Advertise  string `yaml:"advertise" form:"address"` // where edges are told to dial, if not Listen
	TLS        TLS    `yaml:"tls"`
	Congestion string `yaml:"congestion" form:"word"` // TCP congestion control of the link's sockets, bbr say; empty: the system's
}

// TLS names PEM files: the own certificate and key, and the CA of the others.
type TLS struct {
	Cert string `yaml:"cert" form:"path"`
	Key  string `yaml:"key" form:"path"`
	CA   string `yaml:"ca" form:"path"`
}

// Admin is the operator's access.
type Admin struct {
	TokenFile string `yaml:"token_file" default:"admin.token" form:"path"` // made (mode 0600) if absent
}

// Store is where a hub keeps its state.
type Store struct {
	Driver string `yaml:"driver" default:"embedded" oneof:"embedded|postgres"`
	DSN    string `yaml:"dsn"` // postgres only
}

// HubEdge is an edge as its hub knows it.
type HubEdge struct {
	ID           string   `yaml:"id" need:"give the edge its id, the name in its certificate" form:"name"`
	Prefixes     []string `yaml:"prefixes" need:"list the numbers this edge serves, as in prefixes: [\"+63917\"]; \"+\" alone takes every number" form:"prefix"`
	Number       string   `yaml:"number" need:"give the originator that handsets see and reply to, as in number: \"63917000\"" form:"number"`
	SuffixDigits int      `yaml:"suffix_digits" range:"0..6"` // length of the ending that tells conversations of a handset apart
	Ring         Ring     `yaml:"ring"`                       // down
	Queue        Queue    `yaml:"queue"`
	Local        string   `yaml:"local" form:"path"` // the edge's file, to run it inside the hub's process

	LocalEdge *Edge `yaml:"-"` // what Local says
}

// Ring is the size of a ring: at both ends the same.
type Ring struct {
	Slots int `yaml:"slots" default:"255" range:"1..65535"`
}

// Queue bounds what waits behind a ring; then senders get 503.
type Queue struct {
	MaxMessages int `yaml:"max_messages" default:"10000000" range:"1.."`
}

// Cluster is what hubs need of each other.
type Cluster struct {
	Name            string        `yaml:"name" form:"name"` // unique; the host's name if absent
	Listen          string        `yaml:"listen" need:"give the address for memberlist that the other hubs reach, as in listen: 10.0.0.1:7946" form:"listen"`
	Advertise       string        `yaml:"advertise" form:"address"` // where the others reach Listen, if elsewhere
	Remote          string        `yaml:"remote" need:"give the address for hub-to-hub messages that the other hubs reach, as in remote: 10.0.0.1:8090" form:"listen"`
	AdvertiseRemote string        `yaml:"advertise_remote" form:"address"` // where the others reach Remote, if elsewhere
	Join            []string      `yaml:"join" form:"address"`
	TLS             TLS           `yaml:"tls"` // link.tls if absent
	KeyFile         string        `yaml:"key_file" form:"path"`
	LeaseTTL        time.Duration `yaml:"lease_ttl" default:"4s" range:"2s..60s"` // after which what a dead hub owned is free
}

// Limits bound what clients may ask of a hub.
type Limits struct {
	Parts          int `yaml:"parts" default:"32" range:"1..255"`               // of one text
	BodyBytes      int `yaml:"body_bytes" default:"1048576" range:"1024.."`     // of one request
	LoginPerMinute int `yaml:"login_per_minute" default:"10" range:"1..100000"` // failed ones, per user and per address
}

// EventRetention is how long events are kept.
type EventRetention struct {
	Keep time.Duration `yaml:"keep" default:"168h" range:"1m.."`
}

// MessageRetention is how long messages are kept after their final state.
type MessageRetention struct {
	Keep time.Duration `yaml:"keep" default:"720h" range:"1m.."`
}

// Log is the log on standard error.
type Log struct {
	Level string `yaml:"level" default:"info" oneof:"debug|info|warn|error"`
}

// Edge is edge.yaml.
type Edge struct {
	ID      string      `yaml:"id" need:"give the edge its id, the name in its certificate (ringway pki edge DIR ID)" form:"name"`
	DataDir string      `yaml:"data_dir" default:"edge-data" form:"path"`
	Hubs    []string    `yaml:"hubs" form:"address"` // tried in this order
	Link    EdgeLink    `yaml:"link"`
	HTTP    EdgeHTTP    `yaml:"http"`
	SMSC    SMSC        `yaml:"smsc"`
	Gossip  *EdgeGossip `yaml:"gossip"` // nil: none
	Ring    Ring        `yaml:"ring"`   // up
	Spill   Spill       `yaml:"spill"`
	Retry   Retry       `yaml:"retry"`
	Log     Log         `yaml:"log"`
	Disk    Disk        `yaml:"disk"`
}

// EdgeLink is how the edge dials its hub.
type EdgeLink struct {
	Stripes    int    `yaml:"stripes" default:"8" range:"1..64"` // parallel TCP connections
	TLS        TLS    `yaml:"tls"`
	Congestion string `yaml:"congestion" form:"word"` // TCP congestion control of the link's sockets, bbr say; empty: the system's
}

// EdgeHTTP is where the edge serves health and metrics.
type EdgeHTTP struct {
	Listen string `yaml:"listen" default:"127.0.0.1:9080" form:"listen"`
}

// SMSC is the one SMSC that an edge serves.
type SMSC struct {
	Name            string        `yaml:"name" form:"name"` // receipts are matched under it; the edge's id if absent
	Protocol        string        `yaml:"protocol" need:"say which one the SMSC speaks: cimd2 or smpp" oneof:"cimd2|smpp"`
	Binds           []Bind        `yaml:"binds" need:"name at least one: binds: [{address: \"10.0.0.1:9971\", user: NAME, password_file: FILE}]"`
	Profile         string        `yaml:"profile" default:"standard" oneof:"standard|smpp33|hex_ids|latin1|packed|aggregator|plain_cimd2"` // see profiles
	Quirks          Quirks        `yaml:"quirks"`
	Window          int           `yaml:"window" default:"1" range:"1..255"` // unanswered submits per session; 1: stop and wait
	Rate            float64       `yaml:"rate" range:"0..1000000"`           // message parts a second, all sessions together; 0: as fast as the SMSC answers
	Receive         string        `yaml:"receive" default:"push" oneof:"push|poll"`
	PollEvery       time.Duration `yaml:"poll_every" default:"1s" range:"10ms..1h"`              // with receive: poll, when nothing waited
	Unknown         string        `yaml:"unknown" default:"resend" oneof:"resend|give_up|query"` // after a submit that was never answered
	Validity        time.Duration `yaml:"validity" default:"24h" range:"1m..1512h"`              // where the message names none
	Receipts        bool          `yaml:"receipts" default:"true"`                               // ask for delivery receipts
	ResponseTimeout time.Duration `yaml:"response_timeout" default:"10s" range:"10ms..10m"`      // a submit unanswered for longer is in doubt
	LoginTimeout    time.Duration `yaml:"login_timeout" default:"15s" range:"10ms..10m"`
	LogoutTimeout   time.Duration `yaml:"logout_timeout" default:"3s" range:"10ms..1m"`
	KeepAlive       time.Duration `yaml:"keep_alive" default:"30s" range:"100ms..1h"`     // of silence before an enquire_link or alive
	RedeliverWithin time.Duration `yaml:"redeliver_within" default:"10m" range:"0s..48h"` // of a new login: an identical deliver is the last one again; negative, and 0 in the file: never
	AssembleWithin  time.Duration `yaml:"assemble_within" default:"24h" range:"1s..720h"` // then a text goes on without its missing parts
	Country         string        `yaml:"country" form:"country"`                         // calling code of handsets that come without one
	Trunk           string        `yaml:"trunk" default:"0" form:"trunk"`                 // what national numbers begin with
	Zone            string        `yaml:"zone" form:"zone"`                               // of the SMSC's clock; see ParseZone
	Throttle        Throttle      `yaml:"throttle"`
	Redial          Redial        `yaml:"redial"`
	Refused         Refused       `yaml:"refused"`
}

// Throttle is how long a session pauses that the SMSC throttles.
type Throttle struct {
	First time.Duration `yaml:"first" default:"1s" range:"10ms..1h"` // doubled each time in a row
	Max   time.Duration `yaml:"max" default:"30s" range:"10ms..1h"`
}

// Redial is how long a session waits after its line broke.
type Redial struct {
	First time.Duration `yaml:"first" default:"200ms" range:"10ms..1h"`
	Max   time.Duration `yaml:"max" default:"30s" range:"10ms..1h"`
}

// Refused is how long a session waits after what a person has to mend: a login
// refused, a certificate that will not do.
type Refused struct {
	First time.Duration `yaml:"first" default:"30s" range:"10ms..24h"`
	Max   time.Duration `yaml:"max" default:"5m" range:"10ms..24h"`
}

// Bind is one login at the SMSC.
type Bind struct {
	Address         string   `yaml:"address" form:"address"` // the SMSC's host and port
	Outbind         string   `yaml:"outbind" form:"listen"`  // SMPP, instead of Address: the SMSC dials this port of ours
	From            []string `yaml:"from" form:"peer"`       // with Outbind: who may
	OutbindUser     string   `yaml:"outbind_user"`           // that the SMSC's outbind must name, with OutbindPassword; both empty: any
	OutbindPassword string   `yaml:"outbind_password"`
	User            string   `yaml:"user" need:"give the user (SMPP: system_id) that the operator assigned"`
	Password        string   `yaml:"password"`
	PasswordFile    string   `yaml:"password_file" form:"path"` // its content, without the end of line, becomes Password
	SystemType      string   `yaml:"system_type"`               // SMPP only
	Sessions        int      `yaml:"sessions" default:"1" range:"1..64"`
	Mode            string   `yaml:"mode" default:"transceiver" oneof:"transceiver|transmitter|receiver"` // SMPP only
	TLS             *BindTLS `yaml:"tls"`                                                                 // nil: plain TCP
}

// BindTLS names the PEM files of a session over TLS.
type BindTLS struct {
	CA         string `yaml:"ca" form:"path"`   // of the SMSC; empty: those that the system trusts
	Cert       string `yaml:"cert" form:"path"` // our own, where the SMSC asks for one
	Key        string `yaml:"key" form:"path"`
	ServerName string `yaml:"server_name"` // that the SMSC's certificate is for; the address's host if absent
}

// Spill bounds what waits behind the up ring on disk; then the SMSC keeps the rest.
type Spill struct {
	MaxMessages int `yaml:"max_messages" default:"10000000" range:"1.."`
}

// Retry is for messages whose recipient the SMSC refuses for now.
type Retry struct {
	First    time.Duration `yaml:"first" default:"5s" range:"10ms..24h"`        // doubled with each attempt
	Max      time.Duration `yaml:"max" default:"10m" range:"10ms..24h"`         // between two attempts
	Attempts int           `yaml:"attempts" range:"0..1000000"`                 // refusals in a row after which it has failed; 0: only its validity counts
	Messages int           `yaml:"messages" default:"100000" range:"1..100000"` // that may wait; at most journal.MaxDeferred
}
