// Reads hexadecimal multipart bodies with the boundary B, one a line, and prints 1 for each in which Go's net/http finds the
// pair of the arguments.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

func main() {
	key, value := os.Args[1], os.Args[2]
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		body, _ := hex.DecodeString(lines.Text())
		request := http.Request{
			Method: "POST",
			URL:    &url.URL{},
			Header: http.Header{"Content-Type": {"multipart/form-data; boundary=B"}},
			Body:   io.NopCloser(bytes.NewReader(body)),
		}
		found := strings.EqualFold(strings.TrimSpace(request.FormValue(key)), value)
		for _, other := range request.Form[key] {
			found = found || strings.EqualFold(strings.TrimSpace(other), value)
		}
		if found {
			fmt.Println(1)
		} else {
			fmt.Println(0)
		}
	}
}
