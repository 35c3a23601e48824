package main

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

const blockSize = 1 << 20

// block is what large bodies are made of: the same bytes in every process, and no run of zeros that could hide a loss.
var block = makeBlock()

func makeBlock() []byte {
	out := make([]byte, blockSize)
	x := uint64(0x9E3779B97F4A7C15)
	for i := range out {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		out[i] = byte(x)
	}
	return out
}

func writePattern(w io.Writer, size int64) error {
	for size > 0 {
		piece := block
		if size < blockSize {
			piece = block[:size]
		}
		n, err := w.Write(piece)
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

// newSum returns nil for "none". crc32c is nearly free; sha256 would be the bottleneck of a timed run.
func newSum(name string) hash.Hash {
	switch name {
	case "sha256":
		return sha256.New()
	case "crc32c":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	}
	return nil
}

func hexSum(h hash.Hash) string {
	if h == nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

// printSum prints what the sum of an unharmed body of that size is.
func printSum(args []string) {
	flags := flag.NewFlagSet("sum", flag.ExitOnError)
	size := flags.Int64("size", blockSize, "bytes")
	name := flags.String("sum", "sha256", "sha256 or crc32c")
	flags.Parse(args)
	h := newSum(*name)
	if h == nil {
		fail(fmt.Errorf("unknown sum %q", *name))
	}
	writePattern(h, *size)
	fmt.Println(hexSum(h))
}
