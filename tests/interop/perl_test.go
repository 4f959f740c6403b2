package interop

import (
	"fmt"
	"os/exec"
	"strconv"
	"testing"

	"github.com/ringway-im/ringway/tests/need"
)

// Perl's Net::SMPP is an ESME at our simulator.
func TestPerlESME(t *testing.T) {
	for _, window := range []int{1, 10} {
		t.Run(fmt.Sprintf("window %d", window), func(t *testing.T) {
			testESME(t, window, func(t *testing.T, port string) *peer { return perlPeer(t, true, "esme", strconv.Itoa(window), port) })
		})
	}
}

// Perl's Net::SMPP is the SMSC of our edge. It sends hexadecimal ids and
// receipts of text alone.
func TestPerlSMSC(t *testing.T) {
	for _, window := range []int{1, 10} {
		t.Run(fmt.Sprintf("window %d", window), func(t *testing.T) {
			testSMSC(t, window, func(t *testing.T) *peer { return perlPeer(t, false, "smsc", strconv.Itoa(window)) })
		})
	}
}

func perlPeer(t *testing.T, isESME bool, args ...string) *peer {
	t.Helper()
	perl := program(t, "perl", "perl")
	if err := exec.CommandContext(t.Context(), perl, "-MNet::SMPP", "-MJSON::PP", "-e", "1").Run(); err != nil {
		need.Lack(t, "it needs Perl's Net::SMPP: install libnet-smpp-perl (Debian) or Net::SMPP (CPAN)")
	}
	return startPeer(t, nil, isESME, perl, append([]string{"testdata/perl/peer.pl"}, args...)...)
}
