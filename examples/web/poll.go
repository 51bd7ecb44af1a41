// Start an import over HTTP and poll it until it ends: needs `processor dev examples.web.imports`.
// usage: go run examples/web/poll.go [URL of the API]
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"
)

// An answer of the API: the result, or what is wrong.
type answer struct {
	Result json.RawMessage `json:"result"`
	Detail string          `json:"detail"`
}

// ask sends a request and returns its answer, which has one of the expected statuses.
func ask(request *http.Request, expected ...int) (*http.Response, answer, error) {
	var told answer
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, told, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && len(body) > 0 {
		err = json.Unmarshal(body, &told)
	}
	for _, status := range expected {
		if response.StatusCode == status {
			return response, told, err
		}
	}
	return response, told, fmt.Errorf("%s: %s", response.Status, told.Detail)
}

func importFile(api, source string) (json.RawMessage, error) {
	runs := api + "/api/v1/namespaces/default/workflows/import_file/runs"
	body, err := json.Marshal(map[string]any{"arguments": []any{source}})
	if err != nil {
		return nil, err
	}
	start, err := http.NewRequest("POST", runs, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	start.Header.Set("Content-Type", "application/json")
	// The same key again starts nothing again, and has the same answer.
	start.Header.Set("Idempotency-Key", fmt.Sprintf("import-%d", time.Now().UnixNano()))
	started, _, err := ask(start, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	place, err := url.Parse(started.Header.Get("Location"))
	if err != nil {
		return nil, err
	}
	fmt.Printf("%d, and it will be at %s\n", started.StatusCode, place.Path)
	query := place.Query()
	query.Set("wait", "5")
	place.RawQuery = query.Encode()
	for {
		// Each request waits up to five seconds: 202 is "not yet", 200 is the result.
		poll, err := http.NewRequest("GET", place.String(), nil)
		if err != nil {
			return nil, err
		}
		response, told, err := ask(poll, http.StatusOK, http.StatusAccepted)
		if err != nil || response.StatusCode == http.StatusOK {
			return told.Result, err
		}
	}
}

func main() {
	api := "http://127.0.0.1:8233"
	if len(os.Args) > 1 {
		api = os.Args[1]
	}
	result, err := importFile(api, "customers.csv")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", result)
}
