package text

// Coding is how the user data of a short message part is encoded.
type Coding uint8

const (
	GSM7   Coding = iota // GSM 03.38 default alphabet with extension table, one septet an octet
	UCS2                 // big-endian 16-bit units, surrogate pairs as in UTF-16
	Latin1               // ISO 8859-1, where an SMSC or handset asks for it
	Binary               // octets without a text
)
