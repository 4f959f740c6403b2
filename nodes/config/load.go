package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Error is one mistake in a configuration.
type Error struct {
	File    string // or "environment variable NAME"
	Line    int    // 0: none
	Key     string // as in link.tls.cert or edges[0].id; empty: the file as a whole
	Problem string
	Remedy  string
}

// Error renders FILE:LINE: KEY: problem; remedy.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Problem)
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// LoadHub reads and checks a hub's file and those of its local edges. The error
// joins an [*Error] for each mistake.
func LoadHub(file string) (*Hub, error) {
	h := new(Hub)
	l := load(file, h, os.Environ())
	if len(l.errs) == 0 { // else what follows would report the same again
		l.checkHub(h)
	}
	if err := l.err(); err != nil {
		return nil, err
	}
	return h, nil
}

// LoadEdge reads and checks the file of an edge with a process of its own. The
// error joins an [*Error] for each mistake.
func LoadEdge(file string) (*Edge, error) {
	e := new(Edge)
	l := load(file, e, os.Environ())
	if len(l.errs) == 0 {
		l.checkEdge(e)
		l.checkDialling(e)
	}
	if err := l.err(); err != nil {
		return nil, err
	}
	return e, nil
}

// loadLocal reads and checks the file of an edge inside a hub: it dials nobody
// and does not look at the environment.
func loadLocal(file string) (*Edge, []*Error) {
	e := new(Edge)
	l := load(file, e, nil)
	if len(l.errs) == 0 {
		l.checkEdge(e)
	}
	return e, l.errs
}

// loader fills one structure and remembers where each key came from.
type loader struct {
	file  string
	lines map[string]int    // key to line
	vars  map[string]string // key to environment variable
	env   map[string]string // variables that are not empty
	errs  []*Error
}

// load reads the file, and the environment (NAME=value) over it.
func load(file string, into any, environ []string) *loader {
	l := &loader{file: file, lines: map[string]int{}, vars: map[string]string{}, env: map[string]string{}}
	for _, variable := range environ {
		if name, value, _ := strings.Cut(variable, "="); value != "" {
			l.env[name] = value
		}
	}
	v := reflect.ValueOf(into).Elem()
	setDefaults(v)
	raw, err := os.ReadFile(file)
	if err != nil {
		why := err
		if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
			why = pathErr.Err
		}
		l.fail("", fmt.Sprintf("cannot be read: %v", why), "name an existing file; see docs/configuration.md for what goes into it")
		return l
	}
	if root := l.parse(raw); root != nil {
		l.decode(v, root, "")
	}
	l.environment(v, "")
	l.rules(v, "", "")
	return l
}

// fail notes a mistake at a key, where the key or else what encloses it stands.
func (l *loader) fail(key, problem, remedy string) {
	e := &Error{File: l.file, Key: key, Problem: problem, Remedy: remedy}
	for at := key; at != ""; at = enclosing(at) {
		if name, ok := l.vars[at]; ok {
			e.File = ofVariable + name
			break
		}
		if line, ok := l.lines[at]; ok {
			e.Line = line
			break
		}
	}
	if e.Line == 0 && key != "" && e.File == l.file {
		e.Line = 1
	}
	l.errs = append(l.errs, e)
}

const ofVariable = "environment variable "

func (l *loader) err() error {
	errs := make([]error, len(l.errs))
	for i, e := range l.errs {
		errs[i] = e
	}
	return errors.Join(errs...)
}

// given says whether the key stands in the file or in the environment.
func (l *loader) given(key string) bool {
	_, inFile := l.lines[key]
	_, inEnv := l.vars[key]
	return inFile || inEnv
}

func enclosing(key string) string {
	return key[:max(strings.LastIndexAny(key, ".["), 0)]
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

var syntaxError = regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(.*)$`)

func (l *loader) parse(raw []byte) *yaml.Node {
	decoder := yaml.NewDecoder(strings.NewReader(string(raw)))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil // an empty file: all is as by default
	} else if err != nil {
		e := &Error{File: l.file, Problem: err.Error(), Remedy: "mend the YAML: indentation, quotes, brackets"}
		if m := syntaxError.FindStringSubmatch(err.Error()); m != nil {
			e.Line, _ = strconv.Atoi(m[1])
			e.Problem = m[2]
		}
		l.errs = append(l.errs, e)
		return nil
	}
	if decoder.Decode(&second) == nil {
		l.errs = append(l.errs, &Error{File: l.file, Line: second.Line, Problem: "a second YAML document", Remedy: "keep one document a file"})
	}
	return doc.Content[0]
}

// setDefaults fills in what the default tags say.
func setDefaults(v reflect.Value) {
	for f, field := range fields(v) {
		if text, ok := f.Tag.Lookup("default"); ok {
			if problem, _ := setScalar(field, text); problem != "" {
				panic("config: default of " + f.Name + ": " + problem)
			}
		}
		if field.Kind() == reflect.Struct {
			setDefaults(field)
		}
	}
}

// fields yields the fields of a structure that have a key.
func fields(v reflect.Value) func(func(reflect.StructField, reflect.Value) bool) {
	return func(yield func(reflect.StructField, reflect.Value) bool) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Tag.Get("yaml") != "-" && !yield(f, v.Field(i)) {
				return
			}
		}
	}
}

// decode fills v from a node.
func (l *loader) decode(v reflect.Value, n *yaml.Node, key string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Tag == "!!null" {
		delete(l.lines, key)
		return // the key without a value: as if absent
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setDefaults(v.Elem())
		l.decode(v.Elem(), n, key)
	case reflect.Struct:
		l.decodeStruct(v, n, key)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			l.fail(key, "must be a list", "write [a, b], or one entry a line with - before it")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			at := fmt.Sprintf("%s[%d]", key, i)
			l.lines[at] = item.Line
			if v.Index(i).Kind() == reflect.Struct {
				setDefaults(v.Index(i))
			}
			l.decode(v.Index(i), item, at)
		}
	case reflect.Map: // of texts
		if n.Kind != yaml.MappingNode {
			l.fail(key, "must hold pairs", "write {a: b}, or one pair a line")
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, value := n.Content[i], n.Content[i+1]
			at := join(key, name.Value)
			if line, twice := l.lines[at]; twice {
				l.fail(at, fmt.Sprintf("stands twice, first in line %d", line), "keep one")
			}
			l.lines[at] = name.Line
			v.SetMapIndex(reflect.ValueOf(name.Value), reflect.ValueOf(value.Value))
		}
	default:
		if n.Kind != yaml.ScalarNode {
			l.fail(key, "must be a single value", "write it after the key, on the same line")
			return
		}
		if problem, remedy := setScalar(v, n.Value); problem != "" {
			l.fail(key, problem, remedy)
		}
	}
}

func (l *loader) decodeStruct(v reflect.Value, n *yaml.Node, key string) {
	if n.Kind != yaml.MappingNode {
		l.fail(key, "must hold keys", "its keys are "+strings.Join(keys(v), ", "))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, at := n.Content[i], join(key, n.Content[i].Value)
		field, ok := fieldNamed(v, name.Value)
		if line, twice := l.lines[at]; twice && ok {
			l.lines[at] = name.Line
			l.fail(at, fmt.Sprintf("stands twice, first in line %d", line), "keep one")
			continue
		}
		l.lines[at] = name.Line
		if !ok {
			l.fail(at, "unknown key", suggest(name.Value, keys(v)))
			continue
		}
		l.decode(field, n.Content[i+1], at)
	}
}

func fieldNamed(v reflect.Value, name string) (reflect.Value, bool) {
	for f, field := range fields(v) {
		if f.Tag.Get("yaml") == name {
			return field, true
		}
	}
	return reflect.Value{}, false
}

func keys(v reflect.Value) []string {
	var names []string
	for f := range fields(v) {
		names = append(names, f.Tag.Get("yaml"))
	}
	return names
}

// setScalar sets a text, number, truth or duration; or says why not.
func setScalar(v reflect.Value, text string) (problem, remedy string) {
	switch v.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Sprintf("%q is no duration", text), "write a number with its unit, like 500ms, 30s, 10m or 24h"
		}
		v.SetInt(int64(d))
	case string:
		v.SetString(text)
	case bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Sprintf("%q is neither true nor false", text), "write true or false"
		}
		v.SetBool(b)
	case int:
		i, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Sprintf("%q is no whole number", text), "write digits only, like 255"
		}
		v.SetInt(int64(i))
	case float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || f != f {
			return fmt.Sprintf("%q is no number", text), "write a number, like 10 or 0.5"
		}
		v.SetFloat(f)
	default:
		panic(fmt.Sprintf("config: no rule to read a %v", v.Type()))
	}
	return "", ""
}

// environment sets what variables say, over what the file says.
func (l *loader) environment(v reflect.Value, key string) {
	for f, field := range fields(v) {
		at := join(key, f.Tag.Get("yaml"))
		switch {
		case field.Kind() == reflect.Struct:
			l.environment(field, at)
			continue
		case field.Kind() == reflect.Pointer:
			l.environmentOptional(field, at)
			continue
		case field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct:
			l.environmentList(field, at)
			continue
		}
		name := variable(at)
		text, ok := l.env[name]
		if !ok {
			continue
		}
		l.vars[at] = name
		if field.Kind() == reflect.Slice {
			items := strings.Split(text, ",")
			field.Set(reflect.MakeSlice(field.Type(), len(items), len(items)))
			for i, item := range items {
				l.vars[fmt.Sprintf("%s[%d]", at, i)] = name
				field.Index(i).SetString(strings.TrimSpace(item))
			}
			continue
		}
		if field.Kind() == reflect.Map {
			field.Set(reflect.MakeMap(field.Type()))
			for _, pair := range strings.Split(text, ",") {
				key, value, _ := strings.Cut(pair, ":")
				key = strings.TrimSpace(key)
				l.vars[join(at, key)] = name
				field.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(strings.TrimSpace(value)))
			}
			continue
		}
		if problem, remedy := setScalar(field, text); problem != "" {
			l.fail(at, problem, remedy)
		}
	}
}

// environmentOptional makes an absent section only if a variable sets a key of it.
func (l *loader) environmentOptional(p reflect.Value, key string) {
	if !p.IsNil() {
		l.environment(p.Elem(), key)
		return
	}
	section := reflect.New(p.Type().Elem())
	setDefaults(section.Elem())
	before := len(l.vars)
	l.environment(section.Elem(), key)
	if len(l.vars) > before {
		p.Set(section)
	}
}

// environmentList sets keys of a list's entries, each named by its number from 0 on as in
// RINGWAY_EDGES_0_ID, and puts new entries behind those of the file.
func (l *loader) environmentList(list reflect.Value, key string) {
	prefix := variable(key) + "_"
	entries := map[int][]string{} // names by number
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, "_")
		i, err := strconv.Atoi(digits)
		if err != nil || strconv.Itoa(i) != digits || i < 0 { // 01, +1
			l.failVariable(name, key, fmt.Sprintf("%q is no number of an entry", digits), fmt.Sprintf("count from 0, as in %s0_%s", prefix, leaves(list.Type().Elem(), "")[0]))
			continue
		}
		entries[i] = append(entries[i], name)
	}
	for _, i := range slices.Sorted(maps.Keys(entries)) {
		at, names := fmt.Sprintf("%s[%d]", key, i), entries[i]
		if n := list.Len(); i > n {
			l.failVariable(names[0], at, fmt.Sprintf("there is no %s[%d] before it", key, i-1), fmt.Sprintf("the next entry is %s%d_...: leave no number out", prefix, n))
			return
		} else if i == n {
			entry := reflect.New(list.Type().Elem()).Elem()
			setDefaults(entry)
			list.Set(reflect.Append(list, entry))
			l.vars[at] = names[0]
		}
		l.environment(list.Index(i), at)
		known := leaves(list.Type().Elem(), "")
		for _, name := range names {
			if rest := strings.TrimPrefix(name, variable(at)+"_"); !slices.Contains(known, rest) {
				l.failVariable(name, at, fmt.Sprintf("unknown key %q", rest), suggest(rest, known))
			}
		}
	}
}

func (l *loader) failVariable(name, key, problem, remedy string) {
	l.errs = append(l.errs, &Error{File: ofVariable + name, Key: key, Problem: problem, Remedy: remedy})
}

// leaves are the keys below a section as variables end.
func leaves(t reflect.Type, prefix string) (names []string) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return []string{prefix}
	}
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "-" {
			names = append(names, leaves(t.Field(i).Type, strings.TrimPrefix(prefix+"_"+strings.ToUpper(name), "_"))...)
		}
	}
	return names
}

// variable names what sets a key: RINGWAY_SMSC_BINDS_0_USER for smsc.binds[0].user.
func variable(key string) string {
	return "RINGWAY_" + strings.ToUpper(strings.NewReplacer(".", "_", "[", "_", "]", "").Replace(key))
}

// suggest names the nearest of the known words.
func suggest(word string, known []string) string {
	best, least := "", len(word)/2+1
	for _, k := range known {
		if d := distance(word, k); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return "known here: " + strings.Join(known, ", ")
}

// distance is how many letters must change to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// absolute makes a path start at the file's folder.
func (l *loader) absolute(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(l.file), path)
}
