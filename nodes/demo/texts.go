package demo

import (
	_ "embed"
	"strconv"
	"strings"
	"time"
)

//go:embed texts.txt
var textLines string

// texts are what the pour writes: {n} stands for a number that makes each one unique.
var texts = strings.Split(strings.TrimSpace(textLines), "\n")

// textNumber returns the n-th text: no two are the same.
func textNumber(n uint64) string {
	return strings.Replace(texts[n%uint64(len(texts))], "{n}", strconv.FormatUint(n, 10), 1)
}

// firstText is where a run begins to count: beyond what an earlier one can have reached.
func firstText() uint64 { return uint64(time.Now().UnixMilli()) * 10 % 1_000_000_000_000 }
