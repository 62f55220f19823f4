// Reads what `idp demo --output json` printed, and fails unless it is one JSON object with the parts that it promises. In Go,
// since that is on every machine that runs the suite, and a JSON parser comes with it.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	var object map[string]json.RawMessage
	decoder := json.NewDecoder(os.Stdin)
	if err := decoder.Decode(&object); err != nil {
		fail("it is not one JSON object: %v", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		fail("something stands behind the object, at byte %d", decoder.InputOffset())
	}
	for _, part := range []string{"rollouts", "events", "held", "timings"} {
		if _, there := object[part]; !there {
			fail("it has no %q", part)
		}
	}
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "the demo's standard output: "+format+"\n", arguments...)
	os.Exit(1)
}
