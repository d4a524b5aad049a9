// Reads hexadecimal queries, one a line, and prints 1 for each in which Go's net/url or a form of net/http finds the pair of
// the arguments.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
)

func main() {
	key, value := os.Args[1], os.Args[2]
	has := func(values url.Values) bool {
		for _, found := range values[key] {
			if strings.EqualFold(strings.TrimSpace(found), value) {
				return true
			}
		}
		return false
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		query, _ := hex.DecodeString(lines.Text())
		// What can be read is read in spite of an error.
		parsed, _ := url.ParseQuery(string(query))
		form := http.Request{
			Method: "POST",
			URL:    &url.URL{RawQuery: string(query)},
			Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
			Body:   http.NoBody,
		}
		first := form.FormValue(key)
		if has(parsed) || has(form.Form) || strings.EqualFold(first, value) {
			fmt.Println(1)
		} else {
			fmt.Println(0)
		}
	}
}
