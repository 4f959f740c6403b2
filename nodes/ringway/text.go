package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
)

type textCmd struct {
	Inspect textInspectCmd `cmd:"" help:"Show how a text goes: encoding, parts, octets."`
}

type textInspectCmd struct {
	Text     string   `arg:"" help:"The text; - reads it from standard input."`
	From     string   `default:"63917000" help:"Originator (${default})."`
	To       string   `default:"+639171234567" help:"Recipient (${default})."`
	National []string `placeholder:"LANGUAGE" help:"Handsets know the tables of these languages."`
	Wide     bool     `help:"16-bit references."`
	JSON     bool     `name:"json" help:"Print JSON."`
}

// Help names the languages, below the flags' own help.
func (*textInspectCmd) Help() string {
	return "LANGUAGE is one of " + strings.Join(text.Languages(), ", ") + "."
}

// inspection is what is known of a text before it is sent.
type inspection struct {
	Encoding  string       `json:"encoding"` // gsm7 or ucs2
	Tables    *tables      `json:"tables,omitempty"`
	Reasons   []reason     `json:"reasons,omitempty"` // why it is not GSM 7-bit with the default tables
	Units     string       `json:"units"`             // septets or units of 16 bits
	Length    int          `json:"length"`            // in units
	PerPart   int          `json:"per_part"`          // units that a part of this text holds
	Parts     []partDetail `json:"parts"`
	Protocols []string     `json:"protocols"`
}

type tables struct {
	Single  string `json:"single_shift"`
	Locking string `json:"locking_shift"`
}

// reason is a character that the default alphabet lacks.
type reason struct {
	Character string `json:"character"`
	Code      string `json:"code"`
	At        int    `json:"at"` // in characters, from 1
}

type partDetail struct {
	Text   string            `json:"text"`
	Length int               `json:"length"`
	Octets int               `json:"octets"` // over the radio, header included: at most 140
	UDH    string            `json:"udh,omitempty"`
	Data   string            `json:"data"`   // as in the machines: GSM7 one septet an octet
	Radio  string            `json:"radio"`  // TP-UD: header and, in GSM7, packed septets
	Submit map[string]string `json:"submit"` // the whole packet, by protocol
}

func (c *textInspectCmd) Run(to streams) error {
	s := c.Text
	if s == "-" {
		in, err := io.ReadAll(os.Stdin)
		if err != nil {
			return fmt.Errorf("ringway text: %w", err)
		}
		s = string(in)
	}
	found, err := c.inspect(s)
	if err != nil {
		return err
	}
	if c.JSON {
		encoder := json.NewEncoder(to.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(found)
	}
	found.print(to.out)
	return nil
}

func refuse(key, problem, remedy string) error {
	return &config.Error{File: "command line", Key: key, Problem: problem, Remedy: remedy}
}

func (c *textInspectCmd) inspect(s string) (*inspection, error) {
	var national []text.Language
	for _, name := range c.National {
		language, ok := text.ParseLanguage(name)
		if !ok {
			return nil, refuse("--national", fmt.Sprintf("%q is no language with known tables", name), "give "+strings.Join(text.Languages(), ", or "))
		}
		national = append(national, language)
	}
	encoded, err := text.EncodeFor(s, national...)
	if err != nil {
		return nil, refuse("TEXT", err.Error(), "write it in UTF-8")
	}
	pieces, err := encoded.Split(text.Reference{Number: 1, Wide: c.Wide})
	if err != nil {
		return nil, refuse("TEXT", err.Error(), "shorten it")
	}
	found := &inspection{
		Encoding: encoded.Coding.String(), Reasons: reasons(s), Units: "septets", Length: len(encoded.Data),
		PerPart: text.Limit(encoded.Coding, len(pieces[0].UDH)), Protocols: []string{cimd2.Protocol.Name, smpp.Protocol.Name},
	}
	size := 1
	if encoded.Coding == text.UCS2 {
		found.Units, size = "16-bit units", 2
		found.Length, found.PerPart = found.Length/size, found.PerPart/size
	}
	if encoded.Shift != (text.Shift{}) {
		found.Tables = &tables{encoded.Shift.Single.String(), encoded.Shift.Locking.String()}
	}
	for i, p := range pieces {
		onAir := radio(encoded.Coding, p)
		d := partDetail{
			Text:   text.Encoded{Coding: encoded.Coding, Shift: encoded.Shift, Data: p.Data}.String(),
			Length: len(p.Data) / size, Octets: len(onAir),
			UDH: fmt.Sprintf("%X", p.UDH), Data: fmt.Sprintf("%X", p.Data), Radio: fmt.Sprintf("%X", onAir), Submit: map[string]string{},
		}
		part := smsc.Part{
			From: smsc.ParseAddress(c.From), To: smsc.ParseAddress(c.To), Coding: encoded.Coding, Class: -1,
			UDH: p.UDH, Data: p.Data, Report: true, More: i+1 < len(pieces),
		}
		for _, protocol := range []smsc.Protocol{cimd2.Protocol, smpp.Protocol} {
			octets, err := submitOctets(protocol, part)
			if err != nil {
				return nil, fmt.Errorf("ringway text: %s: %w", protocol.Name, err)
			}
			d.Submit[protocol.Name] = fmt.Sprintf("%X", octets)
		}
		found.Parts = append(found.Parts, d)
	}
	return found, nil
}

// radio is the part's user data as a handset gets it (3GPP 23.040 §9.2.3.24):
// septets begin at a septet's border behind the header.
func radio(coding text.Coding, p text.Piece) []byte {
	if coding != text.GSM7 {
		return append(bytes.Clone(p.UDH), p.Data...)
	}
	room := (8*len(p.UDH) + 6) / 7 // septets that the header takes
	octets := text.Pack(append(make([]byte, room), p.Data...))
	copy(octets, p.UDH)
	return octets
}

// maxReasons are shown; the first ones are what a person looks for.
const maxReasons = 10

func reasons(s string) (all []reason) {
	seen := map[rune]bool{}
	at := 0
	for _, r := range s {
		at++
		if _, ok := text.EncodeGSM7(string(r)); ok || seen[r] || len(all) >= maxReasons {
			continue
		}
		seen[r] = true
		all = append(all, reason{Character: string(r), Code: fmt.Sprintf("%U", r), At: at})
	}
	return all
}

// submitOctets has the protocol's own machines log in and submit: what the
// ESME's writes is what an SMSC gets.
func submitOctets(protocol smsc.Protocol, part smsc.Part) (octets []byte, err error) {
	client := protocol.New(smsc.Config{User: "ringway", Password: "secret", Window: 1})
	server := protocol.NewServer(smsc.ServerConfig{Window: 1})
	var last []byte
	outcome := smsc.Outcome{Text: "the packet was not written"}
	var toServer, toClient func(ev smsc.Event)
	read := func(octets []byte, hand func(smsc.Event)) {
		for r := bufio.NewReader(bytes.NewReader(octets)); ; {
			packet, failed := protocol.Read(r)
			if failed != nil {
				return
			}
			hand(smsc.Received{Packet: packet})
		}
	}
	toServer = func(ev smsc.Event) {
		for _, e := range server.Handle(ev, nil) {
			switch e := e.(type) {
			case smsc.Write:
				read(e.Octets, toClient)
			case smsc.LoginReceived:
				toServer(smsc.LoginResult{OK: true})
			case smsc.SubmitReceived:
				octets = last
			}
		}
	}
	toClient = func(ev smsc.Event) {
		for _, e := range client.Handle(ev, nil) {
			switch e := e.(type) {
			case smsc.Write:
				last = e.Octets
				read(e.Octets, toServer)
			case smsc.Answered:
				outcome = e.Outcome
			}
		}
	}
	toServer(smsc.Connected{})
	toClient(smsc.Connected{})
	part.Validity = 24 * time.Hour
	toClient(smsc.Submit{Ref: 1, Part: part})
	if octets == nil {
		return nil, fmt.Errorf("%v %s %s", outcome.Fate, outcome.Code, outcome.Text)
	}
	return octets, nil
}

// octetsPerLine of hexadecimal output.
const octetsPerLine = 32

func (i *inspection) print(out io.Writer) {
	fmt.Fprintf(out, "encoding  %s", i.Encoding)
	if i.Tables != nil {
		fmt.Fprintf(out, " with national tables: single shift %s, locking shift %s", i.Tables.Single, i.Tables.Locking)
	}
	fmt.Fprintln(out)
	for n, r := range i.Reasons {
		why := "because of"
		if n > 0 {
			why = "          "
		}
		fmt.Fprintf(out, "%s %q %s, character %d: the GSM default alphabet has none\n", why, r.Character, r.Code, r.At)
	}
	fmt.Fprintf(out, "length    %d %s\n", i.Length, i.Units)
	fmt.Fprintf(out, "parts     %d of at most %d %s\n", len(i.Parts), i.PerPart, i.Units)
	for n, p := range i.Parts {
		fmt.Fprintf(out, "\npart %d    %d %s, %d octets over the radio: %q\n", n+1, p.Length, i.Units, p.Octets, p.Text)
		if p.UDH != "" {
			lines(out, "header", p.UDH)
		}
		lines(out, "data", p.Data)
		if p.Radio != p.Data {
			lines(out, "radio", p.Radio)
		}
		for _, protocol := range i.Protocols {
			lines(out, protocol, p.Submit[protocol])
		}
	}
}

func lines(out io.Writer, name, hex string) {
	for len(hex) > 0 {
		n := min(2*octetsPerLine, len(hex))
		fmt.Fprintf(out, "  %-7s %s\n", name, hex[:n])
		name, hex = "", hex[n:]
	}
}
