// Companion of the benchmark: a sink for bodies (load sink) and a client for them (load run, load sum).
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "sink":
			sink(os.Args[2:])
			return
		case "run":
			run(os.Args[2:])
			return
		case "sum":
			printSum(os.Args[2:])
			return
		}
	}
	fmt.Fprintln(os.Stderr, "usage: load sink|run|sum [flags]")
	os.Exit(2)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
