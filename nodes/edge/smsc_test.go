package edge

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/session"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
)

// Every word that the configuration allows means something, and no two the same.
func TestEveryWordHasAMeaning(t *testing.T) {
	meaning := map[string]func(word string) any{
		"receipt_ids": func(w string) any { return quirks(config.Quirks{ReceiptIDs: w}) },
		"alphabet":    func(w string) any { return quirks(config.Quirks{Alphabet: w}) },
		"long_texts": func(w string) any {
			return []any{quirks(config.Quirks{LongTexts: w}), encoding("smpp", config.Quirks{LongTexts: w})}
		},
		"numbers":  func(w string) any { return quirks(config.Quirks{Numbers: w}) },
		"national": func(w string) any { return encoding("smpp", config.Quirks{National: []string{w}}) },
		"fates":    func(w string) any { return quirks(config.Quirks{Fates: map[string]string{"1": w}}) },
	}
	of := reflect.TypeFor[config.Quirks]()
	for i := range of.NumField() {
		words, ok := of.Field(i).Tag.Lookup("oneof")
		if !ok {
			continue
		}
		name := of.Field(i).Tag.Get("yaml")
		seen := map[string]string{}
		for word := range strings.SplitSeq(words, "|") {
			means := fmt.Sprintf("%+v", meaning[name](word))
			if other, twice := seen[means]; twice {
				t.Errorf("%s: %s and %s both mean %s", name, word, other, means)
			}
			seen[means] = word
		}
		delete(meaning, name)
	}
	if len(meaning) > 0 {
		t.Errorf("no words for %v", meaning)
	}
}

func TestSessions(t *testing.T) {
	cfg := config.SMSC{
		Name: "globe", Window: 4, Receive: "poll", PollEvery: time.Minute, KeepAlive: 2 * time.Second, Validity: time.Hour,
		ResponseTimeout: 3 * time.Second, LoginTimeout: 4 * time.Second, LogoutTimeout: 5 * time.Second,
		Redial: config.Redial{First: 6, Max: 7}, Refused: config.Refused{First: 8, Max: 9}, Zone: "+05:30",
		Quirks: config.Quirks{
			ReceiptIDs: "decimal_to_hex", Alphabet: "latin1", Packed: true, LongTexts: "payload", Numbers: "plus", NoTLVs: true,
			NoLogoutAnswer: true, NoChecksum: true, ServiceType: "CMT", DataCoding1: true, AbsoluteTimes: true, Fates: map[string]string{"0x45": "permanent", "7": "session"},
			RequireChecksum: true, NegativeDelivers: true, TrailingAt: true,
		},
		Binds: []config.Bind{
			{Address: "a:1", User: "u", Password: "p", Mode: "transmitter", SystemType: "t", Sessions: 2},
			{Address: "b:2", User: "v", Sessions: 1},
		},
	}
	all := sessions(cfg, smpp.Protocol, nil)
	if len(all) != 3 || all[0].Name != "globe-1-1" || all[1].Name != "globe-1-2" || all[2].Name != "globe-2-1" || all[2].Address != "b:2" {
		t.Fatalf("%+v", all)
	}
	want := smsc.Config{
		User: "u", Password: "p", Mode: "transmitter", SystemType: "t", Window: 4, Poll: true, PollEvery: time.Minute,
		KeepAlive: 2 * time.Second, ResponseTimeout: 3 * time.Second, LoginTimeout: 4 * time.Second, LogoutTimeout: 5 * time.Second,
		DefaultValidity: time.Hour,
		Quirks: smsc.Quirks{
			ReceiptIDs: smsc.IDDecimalToHex, Alphabet: smsc.AlphabetLatin1, Packed: true, LongTexts: smsc.LongPayload,
			Numbers: smsc.NumbersPlus, NoTLVs: true, NoLogoutAnswer: true, NoChecksum: true, ServiceType: "CMT",
			IA5: true, AbsoluteTimes: true, Fates: map[uint32]smsc.Fate{0x45: smsc.Permanent, 7: smsc.BadSession},
			RequireChecksum: true, NegativeDelivers: true, TrailingAt: true,
		},
	}
	if !reflect.DeepEqual(all[0].Machine, want) {
		t.Errorf("%+v, want %+v", all[0].Machine, want)
	}
	if _, offset := time.Now().In(all[0].Zone).Zone(); offset != 19800 {
		t.Errorf("zone %v", all[0].Zone)
	}
	cfg.Zone = ""
	if zone := sessions(cfg, smpp.Protocol, nil)[0].Zone; zone != time.UTC {
		t.Errorf("dates go in %v", zone)
	}
	cfg.Quirks.AbsoluteTimes = false
	if zone := sessions(cfg, smpp.Protocol, nil)[0].Zone; zone != nil {
		t.Errorf("nobody has said that the SMSC's zone is %v", zone)
	}
	if all[0].Redial != (session.Backoff{First: 6, Max: 7}) || all[0].RedialSlow != (session.Backoff{First: 8, Max: 9}) {
		t.Errorf("%v, %v", all[0].Redial, all[0].RedialSlow)
	}
}

func TestEncoding(t *testing.T) {
	q := config.Quirks{Alphabet: "latin1", LongTexts: "udh16", National: []string{"turkish", "portuguese"}, Cedilla: true}
	if got, want := encoding("smpp", q), (session.Encoding{
		Alphabet: smsc.AlphabetLatin1, Wide: true, National: []text.Language{text.Turkish, text.Portuguese}, Cedilla: true,
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := encoding("cimd2", q); got.Alphabet != smsc.AlphabetGSM {
		t.Errorf("CIMD2 has escapes for what %v lacks", got.Alphabet)
	}
}

// What a program that embeds an edge leaves out is as in a file that is silent.
func TestComplete(t *testing.T) {
	got := complete(config.SMSC{})
	of := reflect.TypeFor[config.SMSC]()
	check := func(f reflect.StructField, v reflect.Value) {
		if text, ok := f.Tag.Lookup("default"); ok && v.Type() == reflect.TypeFor[time.Duration]() && v.Int() != 0 {
			if want, err := time.ParseDuration(text); err != nil || int64(want) != v.Int() {
				t.Errorf("%s: %v, the file's default is %v", f.Name, v, text)
			}
		}
	}
	for i := range of.NumField() {
		f, v := of.Field(i), reflect.ValueOf(got).Field(i)
		check(f, v)
		if f.Type.Kind() == reflect.Struct {
			for k := range f.Type.NumField() {
				check(f.Type.Field(k), v.Field(k))
			}
		}
	}
	if got.Throttle.First == 0 || got.RedeliverWithin == 0 || complete(config.SMSC{RedeliverWithin: -1}).RedeliverWithin != -1 {
		t.Errorf("%+v", got)
	}
}
