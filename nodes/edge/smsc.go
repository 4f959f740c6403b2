package edge

import (
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/conn"
	"github.com/ringway-im/ringway/smsc/session"
	"github.com/ringway-im/ringway/smsc/text"
)

// complete fills in what a program that embeds an edge need not say: durations
// that make no sense as 0.
func complete(s config.SMSC) config.SMSC {
	for _, d := range []struct {
		at        *time.Duration
		otherwise time.Duration
	}{
		{&s.PollEvery, time.Second},
		{&s.LoginTimeout, 15 * time.Second},
		{&s.LogoutTimeout, 3 * time.Second},
		{&s.RedeliverWithin, 10 * time.Minute},
		{&s.AssembleWithin, 24 * time.Hour},
		{&s.Throttle.First, time.Second},
		{&s.Throttle.Max, 30 * time.Second},
		{&s.Redial.First, 200 * time.Millisecond},
		{&s.Redial.Max, 30 * time.Second},
		{&s.Refused.First, 30 * time.Second},
		{&s.Refused.Max, 5 * time.Minute},
	} {
		if *d.at == 0 {
			*d.at = d.otherwise
		}
	}
	return s
}

// Check says what the protocol cannot do of what the configuration asks of it: a
// *config.Error without a file.
func Check(cfg config.Edge) error {
	protocol, err := protocolNamed(cfg.SMSC.Protocol)
	if err != nil {
		return &config.Error{Key: "smsc.protocol", Problem: err.Error()}
	}
	if _, err := config.ParseZone(cfg.SMSC.Zone); err != nil {
		return &config.Error{Key: "smsc.zone", Problem: err.Error()}
	}
	if protocol.Check == nil {
		return nil
	}
	for i, b := range cfg.SMSC.Binds {
		one := cfg.SMSC
		one.Binds = []config.Bind{b}
		for _, s := range sessions(one, protocol, nil) {
			if err := protocol.Check(s.Machine); err != nil {
				return &config.Error{Key: fmt.Sprintf("smsc.binds[%d]", i), Problem: err.Error()}
			}
		}
	}
	return nil
}

// listen opens the ports that the SMSC dials, by their place among the binds.
func (e *Edge) listen() error {
	e.outbinds = map[int]*conn.Listener{}
	for i, b := range e.cfg.SMSC.Binds {
		if b.Outbind == "" {
			continue
		}
		from, err := conn.ParsePeers(b.From)
		if err != nil {
			return fmt.Errorf("edge: smsc.binds[%d].from: %w", i, err)
		}
		l, err := conn.Listen(b.Outbind, from)
		if err != nil {
			return fmt.Errorf("edge: smsc.binds[%d].outbind: %w", i, err)
		}
		l.Refuse = func(peer net.Addr, why error) {
			e.log.Warn("hung up on a connection to the outbind port", zap.Stringer("peer", peer), zap.Error(why))
		}
		e.outbinds[i] = l
		go l.Serve()
	}
	return nil
}

// sessions lists the logins at the SMSC. Their names stand in the journal.
func sessions(cfg config.SMSC, protocol smsc.Protocol, outbinds map[int]*conn.Listener) []session.Config {
	var all []session.Config
	zone, _ := config.ParseZone(cfg.Zone) // read when the configuration was
	if zone == nil && cfg.Quirks.AbsoluteTimes {
		zone = time.UTC // which the dates name
	}
	for i, b := range cfg.Binds {
		dial := conn.Dialer(b.Address)
		if b.TLS != nil {
			dial = conn.TLSDialer(b.Address, conn.TLS(*b.TLS))
		}
		address, redial, dialTimeout := b.Address, session.Backoff(cfg.Redial), 10*time.Second
		if l := outbinds[i]; l != nil {
			dial, redial, dialTimeout = l.Dial, session.Backoff{First: 10 * time.Millisecond, Max: time.Second}, 24*time.Hour
		}
		if b.Outbind != "" {
			address = "outbind at " + b.Outbind
		}
		for k := range b.Sessions {
			all = append(all, session.Config{
				Name: fmt.Sprintf("%s-%d-%d", cfg.Name, i+1, k+1), Address: address, Protocol: protocol,
				Machine: smsc.Config{
					User: b.User, Password: b.Password, Mode: b.Mode, SystemType: b.SystemType,
					Window: cfg.Window, Poll: cfg.Receive == "poll", PollEvery: cfg.PollEvery,
					KeepAlive: cfg.KeepAlive, ResponseTimeout: cfg.ResponseTimeout,
					LoginTimeout: cfg.LoginTimeout, LogoutTimeout: cfg.LogoutTimeout, DefaultValidity: cfg.Validity,
					Quirks: quirks(cfg.Quirks), OutbindUser: b.OutbindUser, OutbindPassword: b.OutbindPassword,
				},
				Dial: dial, DialTimeout: dialTimeout, Accepts: b.Outbind != "", Zone: zone,
				Redial: redial, RedialSlow: session.Backoff(cfg.Refused),
			})
		}
	}
	return all
}

// The words of the configuration. What is not among them it has refused.
var (
	receiptIDs = map[string]smsc.IDForm{
		"hex_to_decimal": smsc.IDHexToDecimal, "decimal_to_hex": smsc.IDDecimalToHex, "hex": smsc.IDHex, "decimal": smsc.IDDecimal,
	}
	alphabets = map[string]smsc.Alphabet{"latin1": smsc.AlphabetLatin1, "ascii": smsc.AlphabetASCII}
	longTexts = map[string]smsc.LongTexts{"sar": smsc.LongSAR, "payload": smsc.LongPayload}
	numbers   = map[string]smsc.Numbers{"plus": smsc.NumbersPlus, "plain": smsc.NumbersPlain}
	fates     = map[string]smsc.Fate{
		"temporary": smsc.Temporary, "permanent": smsc.Permanent, "throttled": smsc.Throttled, "session": smsc.BadSession,
	}
)

func quirks(q config.Quirks) smsc.Quirks {
	to := smsc.Quirks{
		ReceiptIDs: receiptIDs[q.ReceiptIDs], Alphabet: alphabets[q.Alphabet], Packed: q.Packed, LongTexts: longTexts[q.LongTexts],
		Numbers: numbers[q.Numbers], NoTLVs: q.NoTLVs, NoLogoutAnswer: q.NoLogoutAnswer, NoChecksum: q.NoChecksum, ServiceType: q.ServiceType,
		RequireChecksum: q.RequireChecksum, NegativeDelivers: q.NegativeDelivers, TrailingAt: q.TrailingAt,
		IA5: q.DataCoding1, AbsoluteTimes: q.AbsoluteTimes,
	}
	for text, fate := range q.Fates {
		if code, err := config.ParseCode(text); err == nil {
			if to.Fates == nil {
				to.Fates = map[uint32]smsc.Fate{}
			}
			to.Fates[code] = fates[fate]
		}
	}
	return to
}

// encoding is how texts are cut into parts for this SMSC.
// CIMD2 has escapes for what the SMSC's alphabet lacks.
func encoding(protocol string, q config.Quirks) session.Encoding {
	to := session.Encoding{LongTexts: longTexts[q.LongTexts], Wide: q.LongTexts == "udh16", Cedilla: q.Cedilla}
	if protocol == "smpp" {
		to.Alphabet = alphabets[q.Alphabet]
	}
	for _, name := range q.National {
		if language, ok := text.ParseLanguage(name); ok {
			to.National = append(to.National, language)
		}
	}
	return to
}
