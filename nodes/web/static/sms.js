// How many SMS a text needs: GSM 7-bit (3GPP TS 23.038) if all of it is in the alphabet, else UCS2.
// An estimate: the edge decides, and may keep an escape or a surrogate pair out of a seam.

const basic = new Set(
  "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà",
);
const extended = new Set("^{}\\[~]|€\f");

export function estimate(text) {
  let septets = 0;
  for (const character of text) {
    if (basic.has(character)) septets += 1;
    else if (extended.has(character)) septets += 2;
    else return measure("UCS2", text.length, 70, 67);
  }
  return measure("GSM7", septets, 160, 153);
}

function measure(encoding, units, single, part) {
  const parts = units <= single ? 1 : Math.ceil(units / part);
  return { encoding, units, parts, room: parts === 1 ? single : parts * part };
}
