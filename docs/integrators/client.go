// A gateway in one page of Go, standard library only: delivers readings.csv to the platform.
//
//	METERING_API_URL   the platform's base URL        METERING_TOKEN          the issued token.json
//	METERING_READINGS  device,timestamp,sensor,value  METERING_GATEWAY_STATE  a folder that survives a restart
package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"math"
	"math/rand"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

type value struct {
	Name  string  `json:"sensorName"`
	Value float64 `json:"sensorValue"`
}

type measure struct {
	device    string
	Timestamp int64   `json:"timestamp"`
	Values    []value `json:"sensorValues"`
}

type element struct {
	Device   string    `json:"deviceNumber"`
	Measures []measure `json:"measures"`
}

type answer struct {
	status                          int // 0: no answer came
	retryAfter                      float64
	AccessToken, RefreshToken, Code string
	Errors                          []struct{ Pointer string }
	text                            []byte
}

var (
	api      = os.Getenv("METERING_API_URL") + "/api/v1"
	access   string
	failures float64
	unknown  = map[string]bool{} // devices that the platform does not know; a program that runs on tries them hourly
	client   = http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
)

func main() {
	measures := readMeasures()
	done := 0
	if text, err := os.ReadFile(state("done")); err == nil {
		done, _ = strconv.Atoi(string(text))
	}
	for done < len(measures) {
		end, low, high := done, measures[done].Timestamp, measures[done].Timestamp
		for end < len(measures) && end-done < 100 { // at most 100 measures within a day
			low, high = min(low, measures[end].Timestamp), max(high, measures[end].Timestamp)
			if high-low > 86_400 {
				break
			}
			end++
		}
		deliver(takeOutUnknown(measures[done:end]))
		done = end
		writeDurably("done", []byte(strconv.Itoa(done)))
	}
}

func state(name string) string { return filepath.Join(os.Getenv("METERING_GATEWAY_STATE"), name) }

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// writeDurably writes whole or not at all, and what it wrote is on the disk when it returns.
func writeDurably(name string, content []byte) {
	file, err := os.OpenFile(state(name+".new"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	must(err)
	_, err = file.Write(content)
	must(err)
	must(file.Sync())
	must(file.Close())
	must(os.Rename(state(name+".new"), state(name)))
}

// readMeasures makes one measure of lines with the same device and time that follow each other.
func readMeasures() (measures []measure) {
	text, err := os.ReadFile(os.Getenv("METERING_READINGS"))
	must(err)
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
		cells := strings.Split(line, ",")
		at, err := strconv.ParseInt(cells[1], 10, 64)
		must(err)
		number, err := strconv.ParseFloat(cells[3], 64)
		must(err)
		last := len(measures) - 1
		if last < 0 || measures[last].device != cells[0] || measures[last].Timestamp != at {
			measures = append(measures, measure{device: cells[0], Timestamp: at})
			last++
		}
		measures[last].Values = append(measures[last].Values, value{cells[2], number})
	}
	return
}

// deliver returns when the platform has the measures, or they are set aside.
func deliver(measures []measure) {
	for len(measures) > 0 {
		elements := group(measures)
		got := post(elements)
		atFault := got.status == 400 || got.status == 413 || got.status == 422
		switch {
		case got.status == 201:
			failures = 0
			return
		case got.status == 401:
			access = ""
		case got.Code == "devices_unknown":
			for _, e := range got.Errors {
				index, err := strconv.Atoi(strings.Split(e.Pointer, "/")[1])
				must(err)
				unknown[elements[index].Device] = true
			}
			measures = takeOutUnknown(measures)
		case atFault && len(measures) > 1:
			deliver(measures[:len(measures)/2])
			measures = measures[len(measures)/2:]
		case atFault:
			setAside("refused.jsonl", measures[0], got.text)
			return
		default:
			pause(got)
		}
	}
}

func group(measures []measure) (elements []element) {
	places := map[string]int{}
	for _, m := range measures {
		if _, found := places[m.device]; !found {
			places[m.device] = len(elements)
			elements = append(elements, element{Device: m.device})
		}
		e := &elements[places[m.device]]
		e.Measures = append(e.Measures, m)
	}
	return
}

func takeOutUnknown(measures []measure) (rest []measure) {
	for _, m := range measures {
		if unknown[m.device] {
			setAside("unknown.jsonl", m, nil)
		} else {
			rest = append(rest, m)
		}
	}
	return
}

func setAside(name string, m measure, why []byte) {
	file, err := os.OpenFile(state(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(err)
	must(json.NewEncoder(file).Encode(map[string]any{"device": m.device, "measure": m, "answer": string(why)}))
	must(file.Sync())
	must(file.Close())
}

func post(elements []element) answer {
	if access == "" {
		access = refresh()
	}
	body, err := json.Marshal(elements)
	must(err)
	return call("/measurements", body, access)
}

// refresh sends the same refresh token until an answer comes; the new pair is on the disk before it is used.
func refresh() string {
	for {
		text, err := os.ReadFile(state("token.json"))
		if os.IsNotExist(err) {
			text, err = os.ReadFile(os.Getenv("METERING_TOKEN"))
		}
		must(err)
		var held map[string]string
		must(json.Unmarshal(text, &held))
		body, _ := json.Marshal(map[string]string{"refreshToken": held["refreshToken"]})
		got := call("/auth/token/refresh", body, "")
		if got.status == 200 && got.AccessToken != "" {
			writeDurably("token.json", got.text)
			return got.AccessToken
		}
		if got.status == 401 && got.Code != "" {
			log.Fatal("the token is no longer good: have a new one issued")
		}
		pause(got)
	}
}

func call(path string, body []byte, token string) (got answer) {
	request, err := http.NewRequest("POST", api+path, bytes.NewReader(body))
	must(err)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	if got.text, err = io.ReadAll(response.Body); err != nil {
		return
	}
	_ = json.Unmarshal(got.text, &got) // a proxy's page is no JSON
	got.status = response.StatusCode
	got.retryAfter, _ = strconv.ParseFloat(response.Header.Get("Retry-After"), 64)
	return
}

// pause waits as long as the platform asks for, else doubling; always with chance.
func pause(got answer) {
	seconds := math.Min(300, math.Pow(2, failures)) * (0.5 + rand.Float64()/2)
	if got.retryAfter > 0 {
		seconds = got.retryAfter + rand.Float64()
	}
	failures++
	time.Sleep(time.Duration(seconds * float64(time.Second)))
}
