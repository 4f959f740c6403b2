package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones where the system has none

	"github.com/ringway-im/ringway/smsc/conn"
)

// forms are the syntaxes that the form tag names; path is beside them.
var forms = map[string]func(string) (problem, remedy string){
	"listen":  listenAddress,
	"address": dialAddress,
	"name": pattern(`^[a-z0-9][a-z0-9._-]{0,62}$`, "is no name",
		"use at most 63 of a-z, 0-9, dot, underscore and hyphen, a letter or digit first"),
	"prefix":  pattern(`^\+[0-9]{0,15}$`, "is no prefix of an international number", "write + and digits, as in \"+63917\""),
	"number":  pattern(`^[0-9]{1,20}$`, "is no originator number", "write at most 20 digits without +, in quotes"),
	"country": pattern(`^[1-9][0-9]{0,2}$`, "is no calling code", "write its digits in quotes, as in \"63\""),
	"zone":    zone,
	"peer":    peer,
	"trunk":   pattern(`^[0-9]{1,3}$`, "is no trunk prefix", "write its digits in quotes, as in \"0\""),
	"word":    pattern(`^[a-z0-9_]+$`, "is no name of a congestion control", "see sysctl net.ipv4.tcp_available_congestion_control"),
}

func pattern(expr, problem, remedy string) func(string) (string, string) {
	re := regexp.MustCompile(expr)
	return func(text string) (string, string) {
		if re.MatchString(text) {
			return "", ""
		}
		return fmt.Sprintf("%q %s", text, problem), remedy
	}
}

func listenAddress(text string) (problem, remedy string) {
	if _, port, err := net.SplitHostPort(text); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			return "", ""
		}
	}
	return fmt.Sprintf("%q is no address to listen on", text), "write host:port, as in 127.0.0.1:8080, or :8080 for all interfaces"
}

func dialAddress(text string) (problem, remedy string) {
	if host, port, err := net.SplitHostPort(text); err == nil && host != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			return "", ""
		}
	}
	return fmt.Sprintf("%q is no address to dial", text), "write host:port, as in hub.example.net:7443"
}

func peer(text string) (problem, remedy string) {
	if _, err := conn.ParsePeers([]string{text}); err != nil {
		return fmt.Sprintf("%q is neither an address nor a network", text), "write 10.0.0.7 or 10.1.0.0/16"
	}
	return "", ""
}

func zone(text string) (problem, remedy string) {
	if _, err := ParseZone(text); err != nil {
		return fmt.Sprintf("%q is no time zone", text), "write its name, as in Asia/Manila, or its distance from UTC, as in \"+05:30\""
	}
	return "", ""
}

// ParseZone reads a name of the IANA time zone database, or "+05:30". Nil: an empty
// text.
func ParseZone(text string) (*time.Location, error) {
	if text == "" {
		return nil, nil
	}
	if text[0] == '+' || text[0] == '-' {
		at, err := time.Parse("-07:00", text)
		if err != nil {
			return nil, fmt.Errorf("config: zone: %w", err)
		}
		_, offset := at.Zone()
		return time.FixedZone(text, offset), nil
	}
	if text == "Local" { // of whom?
		return nil, errors.New("config: zone: Local is that of this machine")
	}
	return time.LoadLocation(text)
}

// rules applies the tags need, range, oneof and form, and makes paths absolute.
func (l *loader) rules(v reflect.Value, key string, tag reflect.StructTag) {
	need, needed := tag.Lookup("need")
	switch {
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() {
			l.rules(v.Elem(), key, "")
		}
	case v.Kind() == reflect.Struct:
		for f, field := range fields(v) {
			l.rules(field, join(key, f.Tag.Get("yaml")), f.Tag)
		}
	case l.failed(key): // its value is not what was meant
	case needed && (v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0):
		l.fail(key, "missing", need)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			if at := fmt.Sprintf("%s[%d]", key, i); v.Index(i).Kind() == reflect.Struct {
				l.rules(v.Index(i), at, "")
			} else {
				l.scalarRules(v.Index(i), at, tag)
			}
		}
	case v.Kind() == reflect.Map:
		for _, name := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(name))
			l.scalarRules(value, join(key, name.String()), tag)
		}
	case v.Kind() != reflect.String || v.String() != "" || l.given(key):
		l.scalarRules(v, key, tag)
	}
}

func (l *loader) scalarRules(v reflect.Value, key string, tag reflect.StructTag) {
	if l.failed(key) {
		return
	}
	if span, ok := tag.Lookup("range"); ok {
		l.checkRange(v, key, span)
	}
	if v.Kind() != reflect.String {
		return
	}
	text := v.String()
	if words, ok := tag.Lookup("oneof"); ok && !slices.Contains(strings.Split(words, "|"), text) {
		l.fail(key, fmt.Sprintf("%q is not allowed", text), "write "+strings.ReplaceAll(words, "|", ", or "))
	}
	switch form := tag.Get("form"); form {
	case "":
	case "path":
		v.SetString(l.absolute(text))
	default:
		if problem, remedy := forms[form](text); problem != "" {
			l.fail(key, problem, remedy)
		}
	}
}

func (l *loader) failed(key string) bool {
	return slices.ContainsFunc(l.errs, func(e *Error) bool { return e.Key == key })
}

// checkRange knows "min..max", either of which may be left out.
func (l *loader) checkRange(v reflect.Value, key, span string) {
	low, high, _ := strings.Cut(span, "..")
	number := func(text string) float64 {
		bound := reflect.New(v.Type()).Elem()
		if problem, _ := setScalar(bound, text); problem != "" {
			panic("config: range of " + key + ": " + problem)
		}
		return magnitude(bound)
	}
	n := magnitude(v)
	if low != "" && n < number(low) || high != "" && n > number(high) {
		remedy := "write " + low + " or more"
		if high != "" {
			remedy = "write " + low + " to " + high
		}
		l.fail(key, fmt.Sprintf("%v is out of range", v.Interface()), remedy)
	}
}

func magnitude(v reflect.Value) float64 {
	if v.CanInt() {
		return float64(v.Int())
	}
	return v.Float()
}

// checkHub applies the rules that concern several keys of a hub's file.
func (l *loader) checkHub(h *Hub) {
	if h.Store.Driver == "postgres" && h.Store.DSN == "" {
		l.fail("store.dsn", "missing", `a postgres store needs one, as in dsn: "postgres://user@host/ringway"`)
	}
	if h.Store.Driver == "embedded" && h.Store.DSN != "" {
		l.fail("store.dsn", "an embedded store has none", "remove it, or set driver: postgres")
	}
	dials := false // does an edge dial in?
	owners := map[string]string{}
	ids := map[string]string{}
	folders := map[string]string{h.DataDir: "the hub's data_dir"}
	for i := range h.Edges {
		e, key := &h.Edges[i], fmt.Sprintf("edges[%d]", i)
		if other, ok := ids[e.ID]; ok {
			l.fail(key+".id", fmt.Sprintf("%s is %s already", e.ID, other), "give each edge an id of its own")
		}
		ids[e.ID] = key
		for j, prefix := range e.Prefixes {
			if other, ok := owners[prefix]; ok {
				l.fail(fmt.Sprintf("%s.prefixes[%d]", key, j), fmt.Sprintf("%s belongs to edge %s already", prefix, other), "leave it with one edge; a longer prefix may go to another")
				continue
			}
			owners[prefix] = e.ID
		}
		if n := len(e.Number) + e.SuffixDigits; n > 20 {
			l.fail(key+".suffix_digits", fmt.Sprintf("number and suffix have %d digits together, an originator at most 20", n), "shorten number or suffix_digits")
		}
		if e.Local == "" {
			dials = true
			continue
		}
		l.checkLocal(e, key, folders)
	}
	if dials && h.Link.Listen == "" {
		l.fail("link.listen", "missing, but edges dial in", "give the address, as in listen: 127.0.0.1:7443, or run every edge in the hub with local: FILE")
	}
	if h.Link.Listen != "" {
		l.checkTLS("link.tls", h.Link.TLS, "make one with ringway pki hub DIR NAME")
	}
	if h.Cluster != nil {
		l.checkCluster(h)
	}
}

func (l *loader) checkLocal(e *HubEdge, key string, folders map[string]string) {
	local, errs := loadLocal(e.Local)
	if len(errs) > 0 {
		l.errs = append(l.errs, errs...)
		return
	}
	if local.ID != e.ID {
		l.fail(key+".local", fmt.Sprintf("%s is of edge %s, not %s", e.Local, local.ID, e.ID), "give both files the same id")
	}
	if other, ok := folders[local.DataDir]; ok {
		l.fail(key+".local", fmt.Sprintf("data_dir %s is %s too", local.DataDir, other), "give each a folder of its own")
	}
	l.checkGossip(local, key)
	folders[local.DataDir] = "edge " + e.ID + "'s data_dir"
	e.LocalEdge = local
}

func (l *loader) checkCluster(h *Hub) {
	c := h.Cluster
	if c.TLS == (TLS{}) {
		c.TLS = h.Link.TLS
	}
	l.checkTLS("cluster.tls", c.TLS, "make one with ringway pki hub DIR NAME, or set link.tls")
	if c.Name != "" {
		return
	}
	name, err := os.Hostname()
	name = strings.ToLower(name)
	if problem, _ := forms["name"](name); err != nil || problem != "" {
		l.fail("cluster.name", fmt.Sprintf("missing, and the host's name %q will not do", name), "give the hub a name that is unique in the cluster, as in name: hub-1")
		return
	}
	c.Name = name
}

func (l *loader) checkTLS(key string, t TLS, remedy string) {
	for _, f := range []struct{ name, value string }{{"cert", t.Cert}, {"key", t.Key}, {"ca", t.CA}} {
		if f.value == "" {
			l.fail(key+"."+f.name, "missing", remedy)
		}
	}
}

// checkEdge applies the rules that concern several keys of an edge's file.
func (l *loader) checkEdge(e *Edge) {
	if e.SMSC.Name == "" {
		e.SMSC.Name = e.ID
	}
	if e.SMSC.Protocol == "smpp" && e.SMSC.Receive == "poll" {
		l.fail("smsc.receive", "SMPP has no polling", "write push; poll is for CIMD2 retrieving accounts")
	}
	if e.SMSC.Protocol == "cimd2" && e.SMSC.Window > 128 {
		l.fail("smsc.window", fmt.Sprintf("%d is more than CIMD2 can: its numbers allow 128", e.SMSC.Window), "write 1 to 128")
	}
	for _, p := range []struct {
		key        string
		first, max time.Duration
	}{
		{"retry", e.Retry.First, e.Retry.Max},
		{"smsc.throttle", e.SMSC.Throttle.First, e.SMSC.Throttle.Max},
		{"smsc.redial", e.SMSC.Redial.First, e.SMSC.Redial.Max},
		{"smsc.refused", e.SMSC.Refused.First, e.SMSC.Refused.Max},
	} {
		if p.first > p.max {
			l.fail(p.key+".first", fmt.Sprintf("%v is more than %s.max, %v", p.first, p.key, p.max), "let the first wait be the shortest")
		}
	}
	if e.SMSC.RedeliverWithin == 0 {
		e.SMSC.RedeliverWithin = -1 // 0 stands for what a program that embeds an edge leaves out
	}
	l.checkQuirks(&e.SMSC)
	submits := false
	for i := range e.SMSC.Binds {
		submits = l.checkBind(e.SMSC.Protocol, &e.SMSC.Binds[i], fmt.Sprintf("smsc.binds[%d]", i)) || submits
	}
	if !submits {
		l.fail("smsc.binds", "all are receivers, nothing could be submitted", "add one with mode: transmitter, or use transceiver")
	}
}

func (l *loader) checkBind(protocol string, b *Bind, key string) (submits bool) {
	if protocol == "cimd2" && l.given(key+".mode") {
		l.fail(key+".mode", "CIMD2 has no modes", "remove it")
	}
	switch {
	case b.Outbind != "":
		l.checkOutbind(protocol, b, key)
	case b.Address == "":
		l.fail(key+".address", "missing", "give the SMSC's host and port, or outbind: where the SMSC dials us (SMPP)")
	case len(b.From) > 0 || b.OutbindUser != "" || b.OutbindPassword != "":
		l.fail(key+".outbind", "missing beside from, outbind_user or outbind_password", "give the port that the SMSC dials, or remove these")
	}
	switch password, file := l.given(key+".password"), b.PasswordFile != ""; {
	case password && file:
		l.fail(key+".password_file", "password is given too", "keep one of them")
	case !password && !file:
		l.fail(key+".password", "missing", `give password_file: FILE, or password: "" where the SMSC asks for none`)
	case file:
		content, err := os.ReadFile(b.PasswordFile)
		if err != nil {
			l.fail(key+".password_file", fmt.Sprintf("cannot be read: %v", err), "name a file that holds the password in its first line")
			break
		}
		b.Password, _, _ = strings.Cut(string(content), "\n")
		b.Password = strings.TrimSuffix(b.Password, "\r")
	}
	l.checkAccount(protocol, b, key)
	if b.TLS != nil {
		l.checkBindTLS(b, key+".tls")
	}
	return b.Mode != "receiver"
}

// checkOutbind: a session that the SMSC asks for is a receiver's (SMPP v3.4 §4.1.7).
func (l *loader) checkOutbind(protocol string, b *Bind, key string) {
	switch {
	case protocol != "smpp":
		l.fail(key+".outbind", "is for smpp", "give address")
	case b.Address != "":
		l.fail(key+".outbind", "address is given too", "keep the one who dials: address where we do, outbind where the SMSC does")
	case l.given(key+".mode") && b.Mode != "receiver":
		l.fail(key+".mode", "what an outbind asks for is a receiver", "remove it, and add a bind with an address and mode: transmitter")
	case b.TLS != nil:
		l.fail(key+".tls", "outbind has none", "remove it, or end TLS before this port")
	case len(b.From) == 0:
		l.fail(key+".from", "missing", `name who may dial, as in from: ["10.0.0.7", "10.1.0.0/16"]`)
	}
	b.Mode = "receiver"
}

// checkAccount applies the sizes of the protocols' fields: SMPP v3.4 §5.2, CIMD2's
// parameters 010 and 011.
func (l *loader) checkAccount(protocol string, b *Bind, key string) {
	most := map[string]int{"user": 32, "password": 32}
	if protocol == "smpp" {
		most = map[string]int{"user": 15, "password": 8, "system_type": 12}
	} else if b.SystemType != "" {
		l.fail(key+".system_type", "CIMD2 has none", "remove it")
	}
	for _, f := range []struct{ name, value string }{{"user", b.User}, {"password", b.Password}, {"system_type", b.SystemType}} {
		at := key + "." + f.name
		if f.name == "password" && b.PasswordFile != "" {
			at = key + ".password_file"
		}
		if n, limit := len(f.value), most[f.name]; n > limit && limit > 0 {
			l.fail(at, fmt.Sprintf("has %d octets, but %s carries at most %d", n, strings.ToUpper(protocol), limit),
				"give the one that the operator assigned; some SMSCs compare only the first "+strconv.Itoa(limit))
		}
	}
}

func (l *loader) checkBindTLS(b *Bind, key string) {
	_, err := conn.TLS(*b.TLS).Config(b.Address)
	var file *conn.TLSError
	if errors.As(err, &file) {
		l.fail(key+"."+file.Key, fmt.Sprintf("will not do: %v", file.Err), "name PEM files: ca of the SMSC's, cert and key of your own")
	}
}

// checkDialling applies what an edge outside the hub's process needs besides.
func (l *loader) checkDialling(e *Edge) {
	if len(e.Hubs) == 0 {
		l.fail("hubs", "missing", `give the hubs' link addresses, as in hubs: ["hub.example.net:7443"]; an edge inside a hub is checked with its hub's file`)
	}
	l.checkTLS("link.tls", e.Link.TLS, "make one with ringway pki edge DIR "+e.ID)
}
