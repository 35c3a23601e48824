package main

import (
	"bufio"
	"io"
	"net"
	"syscall"
)

// discard lets the kernel drop the body: with MSG_TRUNC a TCP socket counts the bytes but copies none.
func discard(c *net.TCPConn, reader *bufio.Reader, size int64, buffer []byte) error {
	already := int64(reader.Buffered())
	if already > size {
		already = size
	}
	reader.Discard(int(already))
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	for size -= already; size > 0; {
		piece := buffer
		if size < int64(len(piece)) {
			piece = piece[:size]
		}
		n, failed := 0, error(nil)
		err := raw.Read(func(fd uintptr) bool {
			n, _, failed = syscall.Recvfrom(int(fd), piece, syscall.MSG_TRUNC)
			return failed != syscall.EAGAIN
		})
		if err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		size -= int64(n)
	}
	return nil
}
