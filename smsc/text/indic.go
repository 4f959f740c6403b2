package text

import (
	"maps"
	"strings"
)

// The tables for the languages of India and Pakistan (3GPP 23.038 annex A.2.4 to
// 13 and A.3.4 to 13). The scripts have their letters in one order, so that a
// locking table is the place of its block in Unicode and what the script lacks.
// The tables agree with those of Firefox OS and of github.com/warthog618/sms, but
// for the latter's first three codes of Hindi, which are Bengali's there.

// indicOffsets are codes 0x00 to 0x5F of the locking tables as offsets in the
// script's block; 0: as indicCommon has it.
var indicOffsets = [96]byte{
	0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0, 0x0C, 0x0D, 0, 0x0E, 0x0F,
	0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0, 0x1B, 0x1C, 0x1D, 0x1E,
	0, 0, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x24, 0, 0, 0x25, 0x26, 0, 0x27, 0, 0x28,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x29, 0x2A, 0x2B, 0,
	0x2C, 0x2D, 0x2E, 0x2F, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3C, 0x3D,
	0x3E, 0x3F, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x4B, 0x4C, 0x4D,
}

// indicCommon are the characters that all ten locking tables have; a dot stands
// where they differ.
const indicCommon = "..........\n..\r.." + "...........\x1b...." + " !......)(..,..." + "0123456789:;...?" +
	"................" + "................" + ".abcdefghijklmno" + "pqrstuvwxyz....."

// indicShift are the characters that all ten single shift tables have, indicShifted
// the codes in which they differ.
const (
	indicShift   = "@£$¥¿\"¤%&'\f*+\x00-/<=>¡^¡_#*"
	indicShifted = "\x19\x1A\x1C\x1D\x1E\x1F\x20\x21\x22\x23\x24\x25\x26\x27\x2A\x2B\x2C\x2D\x2E\x30\x31\x32\x33\x34\x35\x36\x37\x38\x39\x3A\x3B\x3F"
)

// script is what sets a language's tables apart.
type script struct {
	block  rune   // of Unicode
	lacks  string // offsets that have no character in the locking table
	more   string // codes 0x60 and 0x7B to 0x7F of it
	shift  string // indicShifted of the single shift table; NUL: none
	locked string // what stands for indicOffsets where the letters have another order
}

var scripts = map[Language]script{
	Bengali: {
		block: 0x980, lacks: "\x0D\x0E\x11\x12\x29\x31\x33\x34\x35\x45\x46\x49\x4A", more: "\u09CE\u09D7\u09DC\u09DD\u09F0\u09F1",
		shift: "\u09E6\u09E7\u09E8\u09E9\u09EA\u09EB\u09EC\u09ED\u09EE\u09EF\u09DF\u09E0\u09E1\u09E2\u09E3\u09F2\u09F3\u09F4\u09F5\u09F6\u09F7\u09F8\u09F9\u09FA",
	},
	Gujarati: {
		block: 0xA80, lacks: "\x0E\x12\x29\x31\x34\x46\x4A", more: "\u0AD0\u0AE0\u0AE1\u0AE2\u0AE3\u0AF1",
		shift: "\u0964\u0965\u0AE6\u0AE7\u0AE8\u0AE9\u0AEA\u0AEB\u0AEC\u0AED\u0AEE\u0AEF",
	},
	Hindi: {
		block: 0x900, more: "\u0950\u0972\u097B\u097C\u097E\u097F",
		shift: "\u0964\u0965\u0966\u0967\u0968\u0969\u096A\u096B\u096C\u096D\u096E\u096F\u0951\u0952\u0953\u0954\u0958\u0959\u095A" +
			"\u095B\u095C\u095D\u095E\u095F\u0960\u0961\u0962\u0963\u0970\u0971",
	},
	Kannada: {
		block: 0xC80, lacks: "\x01\x0D\x11\x29\x34\x45\x49", more: "\u0CD5\u0CD6\u0CE0\u0CE1\u0CE2\u0CE3",
		shift: "\u0964\u0965\u0CE6\u0CE7\u0CE8\u0CE9\u0CEA\u0CEB\u0CEC\u0CED\u0CEE\u0CEF\u0CDE\u0CF1\u0CF2",
	},
	Malayalam: {
		block: 0xD00, lacks: "\x01\x0D\x11\x29\x3C\x45\x49", more: "\u0D57\u0D60\u0D61\u0D62\u0D63\u0D79",
		shift: "\u0964\u0965\u0D66\u0D67\u0D68\u0D69\u0D6A\u0D6B\u0D6C\u0D6D\u0D6E\u0D6F\u0D70\u0D71\u0D72\u0D73\u0D74\u0D75\u0D7A" +
			"\u0D7B\u0D7C\u0D7D\u0D7E\u0D7F",
	},
	Oriya: {
		block: 0xB00, lacks: "\x0D\x0E\x11\x12\x29\x31\x34\x45\x46\x49\x4A", more: "\u0B56\u0B57\u0B60\u0B61\u0B62\u0B63",
		shift: "\u0964\u0965\u0B66\u0B67\u0B68\u0B69\u0B6A\u0B6B\u0B6C\u0B6D\u0B6E\u0B6F\u0B5C\u0B5D\u0B5F\u0B70\u0B71",
	},
	Punjabi: {
		block: 0xA00, lacks: "\x0B\x0C\x0D\x0E\x11\x12\x29\x31\x34\x37\x3D\x43\x44\x45\x46\x49\x4A", more: "\u0A51\u0A70\u0A71\u0A72\u0A73\u0A74",
		shift: "\u0964\u0965\u0A66\u0A67\u0A68\u0A69\u0A6A\u0A6B\u0A6C\u0A6D\u0A6E\u0A6F\u0A59\u0A5A\u0A5B\u0A5C\u0A5E\u0A75",
	},
	Tamil: {
		block: 0xB80, more: "\u0BD0\u0BD7\u0BF0\u0BF1\u0BF2\u0BF9",
		lacks: "\x01\x0B\x0C\x0D\x11\x16\x17\x18\x1B\x1D\x20\x21\x22\x25\x26\x27\x2B\x2C\x2D\x3C\x3D\x43\x44\x45\x49",
		shift: "\u0964\u0965\u0BE6\u0BE7\u0BE8\u0BE9\u0BEA\u0BEB\u0BEC\u0BED\u0BEE\u0BEF\u0BF3\u0BF4\u0BF5\u0BF6\u0BF7\u0BF8\u0BFA",
	},
	Telugu: {
		block: 0xC00, lacks: "\x0D\x11\x29\x34\x3C\x45\x49", more: "\u0C55\u0C56\u0C60\u0C61\u0C62\u0C63",
		shift: "\x00\x00\u0C66\u0C67\u0C68\u0C69\u0C6A\u0C6B\u0C6C\u0C6D\u0C6E\u0C6F\u0C58\u0C59\u0C78\u0C79\u0C7A\u0C7B\u0C7C\u0C7D\u0C7E\u0C7F",
	},
	Urdu: {
		more: "\u0654\u0655\u0651\u0653\u0656\u0670",
		shift: "\u0600\u0601\u06F0\u06F1\u06F2\u06F3\u06F4\u06F5\u06F6\u06F7\u06F8\u06F9\u060C\u060D\u060E\u060F\u0610\u0611\u0612" +
			"\u0613\u0614\u061B\u061F\u0640\u0652\u0658\u066B\u066C\u0672\u0673\u06CD\u06D4",
		locked: "\u0627\u0622\u0628\u067B\u0680\u067E\u06A6\u062A\u06C2\u067F\u0679\u067D\u067A\u067C" +
			"\u062B\u062C\u0681\u0684\u0683\u0685\u0686\u0687\u062D\u062E\u062F\u068C\u0688\u0689\u068A" +
			"\u068F\u068D\u0630\u0631\u0691\u0693\u0699\u0632\u0696\u0698\u069A\u0633\u0634" +
			"\u0635\u0636\u0637\u0638\u0639\u0641\u0642\u06A9\u06AA\u06AB\u06AF\u06B3\u06B1\u0644\u0645\u0646" +
			"\u06BA\u06BB\u06BC\u0648\u06C4\u06D5\u06C1\u06BE\u0621\u06CC\u06D0\u06D2\u064D\u0650\u064F\u0657",
	},
}

// locking returns the table that stands for the default alphabet; 0: no character.
func (s script) locking() *[128]rune {
	var table [128]rune
	locked, more := []rune(s.locked), []rune(s.more)
	for code, r := range indicCommon {
		switch {
		case code == 0x60 || code > 'z':
			r, more = more[0], more[1:]
		case code > 0x5F || indicOffsets[code] == 0:
		case len(locked) > 0:
			r, locked = locked[0], locked[1:]
		case strings.IndexByte(s.lacks, indicOffsets[code]) >= 0:
			r = 0
		default:
			r = s.block + rune(indicOffsets[code])
		}
		table[code] = r
	}
	return &table
}

// single returns the table that stands for the extension table.
func (s script) single() map[byte]rune {
	table := extended(map[byte]rune{})
	for code, r := range []rune(indicShift) {
		table[byte(code)] = r
	}
	for code := byte('A'); code <= 'Z'; code++ {
		table[code] = rune(code)
	}
	for i, r := range []rune(s.shift) {
		table[indicShifted[i]] = r
	}
	maps.DeleteFunc(table, func(_ byte, r rune) bool { return r == 0 })
	return table
}
