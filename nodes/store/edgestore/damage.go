package edgestore

import (
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// errMissing is a record that others lean on.
var errMissing = errors.New("edgestore: a record is missing")

// isDamage says whether an error means that a record is not what was written.
func isDamage(err error) bool {
	var syntax *json.SyntaxError
	var shape *json.UnmarshalTypeError
	return errors.Is(err, errCodec) || errors.Is(err, errMissing) || errors.Is(err, proto.Error) || errors.As(err, &syntax) || errors.As(err, &shape)
}

// noted counts a damaged record and has the process end, as a disk that has failed does:
// what was taken on is not known any more.
func (s *Store) noted(err error) {
	if !isDamage(err) {
		return
	}
	if s.corrupt != nil {
		s.corrupt()
	}
	s.Damaged(err)
}

// Damaged has the process end (kv.Options.Fatal), for a record that cannot be read: what
// of it was acknowledged is not to be passed over.
func (s *Store) Damaged(err error) {
	if s.fatal != nil {
		s.fatal(fmt.Errorf("edgestore: a record of the journal is damaged: %w: move data_dir away and make a new one of it with `ringway edge repair`", err))
	}
}
