package text

import (
	"fmt"
	"slices"
)

// Language names a national language shift table (3GPP 23.038 §6.2.1.2.4).
type Language uint8

// The languages of the standard. Spanish has a single shift table only.
const (
	DefaultLanguage Language = iota
	Turkish
	Spanish
	Portuguese
	Bengali
	Gujarati
	Hindi
	Kannada
	Malayalam
	Oriya
	Punjabi
	Tamil
	Telugu
	Urdu
)

var languages = [...]string{
	"default", "turkish", "spanish", "portuguese",
	"bengali", "gujarati", "hindi", "kannada", "malayalam", "oriya", "punjabi", "tamil", "telugu", "urdu",
}

func (l Language) String() string {
	if int(l) < len(languages) {
		return languages[l]
	}
	return fmt.Sprintf("language(%d)", uint8(l))
}

// Languages returns the names of the languages that texts can be encoded in.
func Languages() []string { return slices.Clone(languages[1:]) }

// ParseLanguage is the inverse of Language.String.
func ParseLanguage(name string) (Language, bool) {
	i := slices.Index(languages[:], name)
	return Language(max(i, 0)), i > 0
}

// Shift names the tables in which a GSM7 text is written. The zero value is the
// default alphabet with its extension table.
type Shift struct {
	Single  Language // instead of the extension table
	Locking Language // instead of the default alphabet
}

// Information element identifiers of the national language tables (3GPP
// 23.040 §9.2.3.24.15 and 16).
const (
	singleShift  = 0x24
	lockingShift = 0x25
)

// elements are the information elements that say s.
func (s Shift) elements() (ie []byte) {
	if s.Single != DefaultLanguage {
		ie = append(ie, singleShift, 1, byte(s.Single))
	}
	if s.Locking != DefaultLanguage {
		ie = append(ie, lockingShift, 1, byte(s.Locking))
	}
	return ie
}

// Shifted returns the tables that a user data header names. A part says it for
// itself, and nothing for the others of its text.
func Shifted(udh []byte) (s Shift) {
	elements, err := ParseUDH(udh)
	if err != nil {
		return Shift{}
	}
	for _, e := range elements {
		switch {
		case len(e.Data) != 1:
		case e.ID == singleShift:
			s.Single = Language(e.Data[0])
		case e.ID == lockingShift:
			s.Locking = Language(e.Data[0])
		}
	}
	return s
}

// tables returns the codes' characters without and behind an escape.
func (s Shift) tables() (locked *[128]rune, shifted map[byte]rune) {
	locked, shifted = &alphabet, extension
	if t, ok := lockingTables[s.Locking]; ok {
		locked = t
	}
	if t, ok := singleTables[s.Single]; ok {
		shifted = t
	}
	return locked, shifted
}

// lockingTables stand for the default alphabet (3GPP 23.038 annex A.3).
var lockingTables = with(script.locking, map[Language]*[128]rune{
	Turkish: (*[128]rune)([]rune("@£$¥€éùıòÇ\nĞğ\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bŞşßÉ" +
		` !"#¤%&'()*+,-./0123456789:;<=>?` +
		"İABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§çabcdefghijklmnopqrstuvwxyzäöñüà")),
	Portuguese: (*[128]rune)([]rune("@£$¥êéúíóç\nÔô\rÁáΔ_ªÇÀ∞^\\€Ó|\x1bÂâÊÉ" +
		` !"#º%&'()*+,-./0123456789:;<=>?` +
		"ÍABCDEFGHIJKLMNOPQRSTUVWXYZÃÕÚÜ§~abcdefghijklmnopqrstuvwxyzãõ`üà")),
})

// singleTables stand for the extension table, most of which they repeat (3GPP
// 23.038 annex A.2).
var singleTables = with(script.single, map[Language]map[byte]rune{
	Turkish: extended(map[byte]rune{
		0x47: 'Ğ', 0x49: 'İ', 0x53: 'Ş', 0x63: 'ç', 0x67: 'ğ', 0x69: 'ı', 0x73: 'ş',
	}),
	Spanish: extended(map[byte]rune{
		0x09: 'ç', 0x41: 'Á', 0x49: 'Í', 0x4F: 'Ó', 0x55: 'Ú', 0x61: 'á', 0x69: 'í', 0x6F: 'ó', 0x75: 'ú',
	}),
	Portuguese: extended(map[byte]rune{
		0x05: 'ê', 0x09: 'ç', 0x0B: 'Ô', 0x0C: 'ô', 0x0E: 'Á', 0x0F: 'á', 0x12: 'Φ', 0x13: 'Γ', 0x15: 'Ω', 0x16: 'Π',
		0x17: 'Ψ', 0x18: 'Σ', 0x19: 'Θ', 0x1F: 'Ê', 0x41: 'À', 0x49: 'Í', 0x4F: 'Ó', 0x55: 'Ú', 0x5B: 'Ã', 0x5C: 'Õ',
		0x61: 'Â', 0x69: 'í', 0x6F: 'ó', 0x75: 'ú', 0x7B: 'ã', 0x7C: 'õ', 0x7F: 'â',
	}),
})

// with adds the tables of the scripts.
func with[T any](table func(script) T, tables map[Language]T) map[Language]T {
	for language, s := range scripts {
		tables[language] = table(s)
	}
	return tables
}

func extended(more map[byte]rune) map[byte]rune {
	for code, r := range extension {
		if _, taken := more[code]; !taken {
			more[code] = r
		}
	}
	return more
}

// codes has for the pairs of tables in which texts are written the codes of their
// characters.
var codes = func() map[Shift]map[rune]byte {
	all := map[Shift]map[rune]byte{{}: Shift{}.codes()}
	for l := Turkish; int(l) < len(languages); l++ {
		for _, s := range l.shifts() {
			all[s] = s.codes()
		}
	}
	return all
}()

func (s Shift) codes() map[rune]byte {
	locked, shifted := s.tables()
	m := make(map[rune]byte, len(locked)+len(shifted))
	for code, r := range shifted {
		m[r] = code | 0x80
	}
	for code, r := range locked { // one septet goes before two
		if code != escape && r != 0 {
			m[r] = byte(code)
		}
	}
	return m
}

// shifts are the pairs of tables worth trying for a language, simplest first.
func (l Language) shifts() []Shift {
	if _, ok := lockingTables[l]; !ok {
		return []Shift{{Single: l}}
	}
	return []Shift{{Single: l}, {Locking: l}, {Single: l, Locking: l}}
}
