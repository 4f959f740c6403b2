'use strict';
// An SMSC or an ESME out of the npm package smpp. It reads what to send and
// writes what it hears, one JSON object a line.
//
//   node peer.js smsc WINDOW        listens, and says {"port"}
//   node peer.js esme WINDOW PORT   binds as a transceiver, and says {"bound":true}
//
//   in    {"id","from","to","text"}   to send; the end of the input: unbind
//   out   {"from","to","text"}        a whole text has come
//         {"accepted":ID}             each part has its response
//         {"delivered":ID}            each part has its receipt (ESME)
//         {"fault":TEXT}              something that should not be
const smpp = require('smpp');
const readline = require('readline');

const [role, size, port] = process.argv.slice(2);
const user = 'ringway', password = 'secret', window = Number(size);

function say(what) { process.stdout.write(JSON.stringify(what) + '\n'); }
function fault(text) { say({ fault: text }); }

// Outgoing: parts in order, at most window of them unanswered.

let session = null;
let reference = 0;
const queue = [];
let unanswered = 0;
const messages = new Map(); // by id: parts that have no response, and no receipt
const partOf = new Map(); // message_id to id

function encode(text) {
  const name = smpp.encodings.detect(text);
  const octets = smpp.encodings[name].encode(text);
  return { name, octets, data_coding: { ASCII: 0, LATIN1: 3, UCS2: 8 }[name] };
}

// pieces cuts octets so that neither an escape nor a surrogate pair is torn.
function pieces(name, octets) {
  const [whole, part] = name === 'ASCII' ? [160, 153] : [140, 134];
  if (octets.length <= whole) return [octets];
  const out = [];
  for (let at = 0; at < octets.length;) {
    let end = Math.min(at + part, octets.length);
    if (end < octets.length) {
      if (name === 'ASCII' && octets[end - 1] === 0x1b) end--;
      if (name === 'UCS2' && octets[end - 2] >> 2 === 0x36) end -= 2;
    }
    out.push(octets.subarray(at, end));
    at = end;
  }
  return out;
}

function address(number) {
  return number.startsWith('+') ? { ton: 1, npi: 1, digits: number.slice(1) } : { ton: 0, npi: 1, digits: number };
}

// enqueue cuts a message. Long ones take turns: user data header with a short
// and a long reference, SAR parameters, message_payload.
function enqueue(message) {
  const { name, octets, data_coding } = encode(message.text);
  const from = address(message.from), to = address(message.to);
  const fields = {
    source_addr_ton: from.ton, source_addr_npi: from.npi, source_addr: from.digits,
    dest_addr_ton: to.ton, dest_addr_npi: to.npi, destination_addr: to.digits, data_coding,
  };
  if (role === 'esme') fields.registered_delivery = 1;
  let parts = pieces(name, octets);
  const total = parts.length, way = total === 1 ? 'whole' : ['udh8', 'udh16', 'sar', 'payload'][reference % 4];
  if (total > 1) reference++;
  const ref = reference & 0xffff;
  if (way === 'payload') parts = [octets];
  parts.forEach((part, i) => {
    const f = { ...fields };
    switch (way) {
      case 'whole': f.short_message = part; break;
      case 'udh8': f.esm_class = 0x40; f.short_message = Buffer.concat([Buffer.from([5, 0, 3, ref & 0xff, total, i + 1]), part]); break;
      case 'udh16': f.esm_class = 0x40; f.short_message = Buffer.concat([Buffer.from([6, 8, 4, ref >> 8, ref & 0xff, total, i + 1]), part]); break;
      case 'sar': f.short_message = part; Object.assign(f, { sar_msg_ref_num: ref, sar_total_segments: total, sar_segment_seqnum: i + 1 }); break;
      case 'payload': f.message_payload = part; break;
    }
    queue.push({ id: message.id, fields: f });
  });
  messages.set(message.id, { responses: parts.length, receipts: parts.length });
  pump();
}

function pump() {
  while (session && queue.length > 0 && unanswered < window) {
    const { id, fields } = queue.shift();
    unanswered++;
    session[role === 'esme' ? 'submit_sm' : 'deliver_sm'](fields, response => {
      unanswered--;
      const m = messages.get(id);
      if (response.command_status !== 0) fault(`${response.command} with status ${response.command_status} for ${id}`);
      if (role === 'esme') partOf.set(response.message_id, id);
      if (--m.responses === 0) say({ accepted: id });
      pump();
    });
  }
}

// Incoming.

const making = new Map(); // long texts by addresses and reference

function receive(pdu) {
  const from = (pdu.source_addr_ton === 1 ? '+' : '') + pdu.source_addr;
  const to = (pdu.dest_addr_ton === 1 ? '+' : '') + pdu.destination_addr;
  const body = pdu.message_payload === undefined ? pdu.short_message : pdu.message_payload;
  let ref, total, number;
  for (const udh of body.udh || []) {
    if (udh[0] === 0) [ref, total, number] = [udh[2], udh[3], udh[4]];
    if (udh[0] === 8) [ref, total, number] = [udh.readUInt16BE(2), udh[4], udh[5]];
  }
  if (pdu.sar_total_segments > 1) [ref, total, number] = [pdu.sar_msg_ref_num, pdu.sar_total_segments, pdu.sar_segment_seqnum];
  if (typeof body.message !== 'string' && body.message.length > 0) fault(`data_coding ${pdu.data_coding} is not text`);
  if (ref === undefined) return say({ from, to, text: String(body.message) });
  const key = [from, to, ref, total].join();
  const parts = making.get(key) || new Map();
  if (parts.has(number)) fault(`part ${number} of ${key} came twice`);
  making.set(key, parts.set(number, body.message));
  if (parts.size === total) {
    making.delete(key);
    let text = '';
    for (let i = 1; i <= total; i++) text += parts.get(i);
    say({ from, to, text });
  }
}

function receipt(pdu) {
  const match = /^id:(\S+) .*stat:(\S+)/.exec(pdu.short_message.message);
  const id = match && partOf.get(match[1]);
  if (id === undefined || match[2] !== 'DELIVRD' || pdu.receipted_message_id !== match[1] || pdu.message_state !== 2) {
    return fault(`receipt ${JSON.stringify(pdu.short_message.message)}, receipted_message_id ${pdu.receipted_message_id}, message_state ${pdu.message_state}`);
  }
  partOf.delete(match[1]);
  if (--messages.get(id).receipts === 0) say({ delivered: id });
}

// The SMSC's receipts go out in three forms: text and parameters, text alone,
// and parameters alone.
let ids = 0x0fffff00; // so that letters come up in hexadecimal
function sendReceipt(pdu, id) {
  const form = ids % 3;
  const f = {
    source_addr_ton: pdu.dest_addr_ton, source_addr_npi: pdu.dest_addr_npi, source_addr: pdu.destination_addr,
    dest_addr_ton: pdu.source_addr_ton, dest_addr_npi: pdu.source_addr_npi, destination_addr: pdu.source_addr, esm_class: 4,
  };
  if (form !== 2) f.short_message = Buffer.from(`id:${id} sub:001 dlvrd:001 submit date:2611230100 done date:2611230101 stat:DELIVRD err:000 text:`);
  if (form !== 1) Object.assign(f, { receipted_message_id: id, message_state: 2 });
  session.deliver_sm(f, response => {
    if (response.command_status !== 0) fault(`receipt ${id} refused with status ${response.command_status}`);
  });
}

function serve(s, bound) {
  s.on('error', e => fault(`session: ${e.message}`));
  s.on('pdu', pdu => {
    switch (pdu.command) {
      case 'bind_transceiver':
        if (pdu.system_id !== user || pdu.password !== password) {
          fault(`bind of ${pdu.system_id}`);
          return s.send(pdu.response({ command_status: smpp.ESME_RINVPASWD }));
        }
        s.send(pdu.response({ system_id: 'npm-smpp', sc_interface_version: 0x34 }));
        return bound();
      case 'submit_sm': {
        const id = (ids++).toString(16);
        s.send(pdu.response({ message_id: id }));
        receive(pdu);
        if (pdu.registered_delivery & 1) sendReceipt(pdu, id);
        return;
      }
      case 'deliver_sm':
        s.send(pdu.response());
        return (pdu.esm_class & 0x3c) === 4 ? receipt(pdu) : receive(pdu);
      case 'enquire_link':
        return s.send(pdu.response());
      case 'unbind':
        s.send(pdu.response());
        return s.close();
      default:
        if (!pdu.isResponse()) {
          fault(`unexpected ${pdu.command}`);
          s.send(pdu.response());
        }
    }
  });
}

let end = () => process.exit(0);
if (role === 'smsc') {
  const server = smpp.createServer(s => {
    serve(s, () => { session = s; pump(); });
    s.on('close', () => { if (session === s) session = null; });
  });
  server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
} else {
  const s = smpp.connect({ url: `smpp://127.0.0.1:${port}` });
  serve(s, () => {});
  s.on('connect', () => s.bind_transceiver({ system_id: user, password, interface_version: 0x34 }, response => {
    if (response.command_status !== 0) return fault(`bind refused with status ${response.command_status}`);
    session = s;
    say({ bound: true });
    pump();
  }));
  end = () => s.unbind(() => s.close(() => process.exit(0)));
}
const input = readline.createInterface({ input: process.stdin });
input.on('line', line => enqueue(JSON.parse(line)));
input.on('close', () => end());
