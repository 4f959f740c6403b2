# An SMSC or an ESME out of Perl's Net::SMPP. It reads what to send and writes
# what it hears, as ../npm/peer.js does.
#
#   perl peer.pl smsc WINDOW          perl peer.pl esme WINDOW PORT
use strict;
use warnings;
use Net::SMPP;
use Encode;
use IO::Select;
use JSON::PP;

my ($role, $window, $port) = @ARGV;
my ($user, $password) = ('ringway', 'secret');
$| = 1;
sub say_json { print encode_json($_[0]), "\n" }
sub fault { say_json({ fault => $_[0] }) }

# Outgoing: parts in order, at most $window of them unanswered.

my ($session, $reference, $unanswered, $ids) = (undef, 0, 0, 0x0fffff00);
my (@queue, %messages, %id_of_sequence, %id_of_part);

# address_of is TON, NPI and digits of a number.
sub address_of {
    my ($number) = @_;
    return $number =~ s/^\+// ? (1, 1, $number) : (0, 1, $number);
}

# encoded is data_coding and octets: GSM 03.38 where it has all characters.
sub encoded {
    my ($text) = @_;
    my $octets = eval { encode('gsm0338', my $copy = $text, Encode::FB_CROAK) };
    return (0, $octets) if defined $octets;
    return (8, encode('UTF-16BE', $text));
}

# pieces cuts octets so that neither an escape nor a surrogate pair is torn.
sub pieces {
    my ($coding, $octets) = @_;
    my ($whole, $part) = $coding == 0 ? (160, 153) : (140, 134);
    return ($octets) if length $octets <= $whole;
    my @out;
    while (length $octets) {
        my $n = $part;
        if (length $octets > $n) {
            $n -= 1 if $coding == 0 && substr($octets, $n - 1, 1) eq "\x1b";
            $n -= 2 if $coding == 8 && ord(substr($octets, $n - 2, 1)) >> 2 == 0x36;
        }
        push @out, substr($octets, 0, $n, '');
    }
    return @out;
}

# enqueue cuts a message. Long ones take turns: user data header, SAR parameters.
sub enqueue {
    my ($m) = @_;
    my ($coding, $octets) = encoded($m->{text});
    my @parts = pieces($coding, $octets);
    my ($source_ton, $source_npi, $source) = address_of($m->{from});
    my ($dest_ton, $dest_npi, $dest) = address_of($m->{to});
    my @fields = (
        source_addr_ton => $source_ton, source_addr_npi => $source_npi, source_addr => $source,
        dest_addr_ton => $dest_ton, dest_addr_npi => $dest_npi, destination_addr => $dest,
        data_coding => $coding, registered_delivery => $role eq 'esme' ? 1 : 0,
    );
    my ($ref, $total) = ($reference, scalar @parts);
    $reference++ if $total > 1;
    for my $i (1 .. $total) {
        my @f = (@fields, short_message => $parts[$i - 1]);
        if ($total > 1 && $ref % 2 == 0) {
            @f = (@fields, esm_class => 0x40, short_message => pack('C6', 5, 0, 3, $ref % 256, $total, $i) . $parts[$i - 1]);
        } elsif ($total > 1) {
            push @f, sar_msg_ref_num => pack('n', $ref), sar_total_segments => pack('C', $total), sar_segment_seqnum => pack('C', $i);
        }
        push @queue, [ $m->{id}, \@f ];
    }
    $messages{ $m->{id} } = { responses => $total, receipts => $total };
}

sub pump {
    while ($session && @queue && $unanswered < $window) {
        my ($id, $fields) = @{ shift @queue };
        my $seq = $role eq 'esme' ? $session->submit_sm(@$fields) : $session->deliver_sm(@$fields);
        $id_of_sequence{$seq} = $id;
        $unanswered++;
    }
}

sub answered {
    my ($pdu) = @_;
    my $id = delete $id_of_sequence{ $pdu->{seq} };
    return if !defined $id;    # a receipt's
    $unanswered--;
    fault("status $pdu->{status} for $id") if $pdu->{status};
    $id_of_part{ $pdu->{message_id} } = $id if $role eq 'esme';
    say_json({ accepted => $id }) if --$messages{$id}{responses} == 0;
}

# Incoming.

my %making;

sub number_of { my ($ton, $digits) = @_; return ($ton == 1 ? '+' : '') . $digits }

sub receive {
    my ($pdu) = @_;
    my $from = number_of($pdu->{source_addr_ton}, $pdu->{source_addr});
    my $to = number_of($pdu->{dest_addr_ton}, $pdu->{destination_addr});
    my $octets = defined $pdu->{message_payload} ? $pdu->{message_payload} : $pdu->{short_message};
    my ($ref, $total, $number);
    if ($pdu->{esm_class} & 0x40) {
        my $udh = substr($octets, 0, 1 + ord $octets, '');
        ($ref, $total, $number) = unpack 'x3 C3', $udh if substr($udh, 0, 3) eq "\x05\x00\x03";
        ($ref, $total, $number) = unpack 'x3 n C2', $udh if substr($udh, 0, 3) eq "\x06\x08\x04";
        fault('user data header ' . unpack 'H*', $udh) if !defined $ref;
    }
    my $name = { 0 => 'gsm0338', 3 => 'iso-8859-1', 8 => 'UTF-16BE' }->{ $pdu->{data_coding} };
    return fault("data_coding $pdu->{data_coding} is not text") if !$name;
    my $text = decode($name, $octets);
    return say_json({ from => $from, to => $to, text => $text }) if !defined $ref;
    my $key = join ',', $from, $to, $ref, $total;
    fault("part $number of $key came twice") if defined $making{$key}{$number};
    $making{$key}{$number} = $text;
    return if keys %{ $making{$key} } < $total;
    say_json({ from => $from, to => $to, text => join '', @{ delete $making{$key} }{ 1 .. $total } });
}

sub receipt {
    my ($pdu) = @_;
    my ($part, $state) = $pdu->{short_message} =~ /^id:(\S+) .*stat:(\S+)/;
    my $id = defined $part ? delete $id_of_part{$part} : undef;
    my $named = defined $pdu->{receipted_message_id} ? unpack 'Z*', $pdu->{receipted_message_id} : '';
    if (!defined $id || $state ne 'DELIVRD' || $named ne $part || unpack('C', $pdu->{message_state}) != 2) {
        return fault("receipt $pdu->{short_message}");
    }
    say_json({ delivered => $id }) if --$messages{$id}{receipts} == 0;
}

sub send_receipt {
    my ($pdu, $id) = @_;
    $session->deliver_sm(
        source_addr_ton => $pdu->{dest_addr_ton}, source_addr_npi => $pdu->{dest_addr_npi}, source_addr => $pdu->{destination_addr},
        dest_addr_ton => $pdu->{source_addr_ton}, dest_addr_npi => $pdu->{source_addr_npi}, destination_addr => $pdu->{source_addr},
        esm_class => 4,
        short_message => "id:$id sub:001 dlvrd:001 submit date:2611230100 done date:2611230101 stat:DELIVRD err:000 text:",
    );
}

# handle takes a PDU; it returns false when the session is over.
sub handle {
    my ($pdu) = @_;
    my $cmd = $pdu->{cmd};
    if ($cmd == Net::SMPP::CMD_bind_transceiver) {
        fault("bind of $pdu->{system_id}") if $pdu->{system_id} ne $user || $pdu->{password} ne $password;
        $session->bind_transceiver_resp(seq => $pdu->{seq}, system_id => 'net-smpp');
    } elsif ($cmd == Net::SMPP::CMD_submit_sm) {
        my $id = sprintf '%x', $ids++;
        $session->submit_sm_resp(seq => $pdu->{seq}, message_id => $id);
        receive($pdu);
        send_receipt($pdu, $id) if $pdu->{registered_delivery} & 1;
    } elsif ($cmd == Net::SMPP::CMD_deliver_sm) {
        $session->deliver_sm_resp(seq => $pdu->{seq}, message_id => '');
        ($pdu->{esm_class} & 0x3c) == 4 ? receipt($pdu) : receive($pdu);
    } elsif ($cmd == (Net::SMPP::CMD_submit_sm | 0x80000000) || $cmd == (Net::SMPP::CMD_deliver_sm | 0x80000000)) {
        answered($pdu);
    } elsif ($cmd == Net::SMPP::CMD_enquire_link) {
        $session->enquire_link_resp(seq => $pdu->{seq});
    } elsif ($cmd == Net::SMPP::CMD_unbind) {
        $session->unbind_resp(seq => $pdu->{seq});
        return 0;
    } elsif ($cmd == (Net::SMPP::CMD_unbind | 0x80000000)) {
        return 0;
    } else {
        fault(sprintf 'unexpected command %x', $cmd);
    }
    return 1;
}

my $select = IO::Select->new(\*STDIN);
my $listener;
if ($role eq 'smsc') {
    $listener = Net::SMPP->new_listen('127.0.0.1', port => 0, smpp_version => 0x34, async => 1) or die "listen: $!";
    $select->add($listener);
    say_json({ port => $listener->sockport });
} else {
    $session = Net::SMPP->new_connect('127.0.0.1', port => $port, smpp_version => 0x34) or die "connect: $!";
    my $response = $session->bind_transceiver(system_id => $user, password => $password, interface_version => 0x34);
    die "bind refused\n" if !$response || $response->{status};
    ${*$session}{async} = 1;
    $select->add($session);
    say_json({ bound => JSON::PP::true });
}
my $input = '';
while (1) {
    for my $ready ($select->can_read) {
        if ($listener && $ready == $listener) {
            $session = $listener->accept or die "accept: $!";
            $select->add($session);
        } elsif ($session && $ready == $session) {
            my $pdu = $session->read_pdu;
            if (!$pdu || !handle($pdu)) {
                fault('the session ended without unbind') if !$pdu;
                $select->remove($session);
                close $session;
                undef $session;
                exit 0 if $role eq 'esme';
            }
        } elsif (sysread STDIN, $input, 4096, length $input) {    # little: the session waits meanwhile
            while ($input =~ s/^(.*)\n//) { enqueue(decode_json($1)) }
        } else {
            exit 0 if !$session;
            $select->remove(\*STDIN);
            $session->unbind;
        }
    }
    pump();
}
