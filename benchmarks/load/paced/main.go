// paced sends requests at a fixed rate, and tells how long each answer took from the moment it was due.
//
// A load generator that waits for an answer before it sends the next request slows down with the server: while the
// server stalls, it sends little, and the requests that would have suffered are never made. Gil Tene calls that
// coordinated omission. Here request number i is due at begin + i/rate, whatever became of those before it, and its
// latency is the time of its answer less the time it was due. A stall of 100 ms at 1,000 requests a second is then
// seen by 100 requests, with 100, 99, 98 … ms, as it would be by 100 clients that know nothing of each other. What
// cannot be sent in time (every connection busy, this program late) is sent as soon as can be, and its latency counts
// from when it was due all the same. What has no answer after -timeout counts with that time, and as no good answer.
//
// With -streams and no -rate it is the opposite, a closed loop for throughput: each connection always has so many
// requests under way, the next one is due when there is room for it, and latencies are those of a busy server.
//
// One thread does everything (see loop.go), so that the generator takes little of the machine that it measures.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// strs is a flag that may be given several times.
type strs []string

func (s *strs) String() string     { return strings.Join(*s, ", ") }
func (s *strs) Set(v string) error { *s = append(*s, v); return nil }

// report is what is printed, as JSON. Latencies are in microseconds, of all requests, the unanswered ones included.
type report struct {
	Sent     int     `json:"sent"`
	Answered int     `json:"answered"` // in time, whatever the answer says
	Good     int     `json:"good"`     // answered by HTTP status 2xx, and for gRPC by grpc-status 0 as well
	Length   int64   `json:"length"`   // bytes of all answers, of gRPC their messages
	Waited   int     `json:"waited"`   // sent late because every connection was busy
	Opened   int     `json:"opened"`   // connections, over the whole run
	Seconds  float64 `json:"seconds"`  // from the begin to the last answer
	P50      float64 `json:"p50"`
	P90      float64 `json:"p90"`
	P99      float64 `json:"p99"`
	P999     float64 `json:"p999"`
	Worst    float64 `json:"worst"`
	Behind   float64 `json:"behind"` // p99 of sent less due: what the generator itself may have added
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "paced:", err)
		os.Exit(1)
	}
}

func run() error {
	var headers strs
	target := flag.String("url", "", "grpc://HOST:PORT[/METHOD], grpc+unix:PATH[:/METHOD], http://HOST:PORT/PATH or http+unix:PATH:/PATH")
	rate := flag.Float64("rate", 0, "requests a second; 0: a closed loop, as fast as answers come")
	seconds := flag.Float64("seconds", 1, "how long to send")
	payloads := flag.String("payloads", "", "file with gRPC messages, or bodies of POSTs, sent in turn: each its length (4 bytes, big-endian) and itself")
	inTurn := flag.String("in-turn", "", "HTTP: file with lines 'name: value', of which each request has one, in turn")
	connections := flag.Int("connections", 4, "connections that are opened before the begin")
	most := flag.Int("most", 512, "HTTP: connections that are opened where a request would have to wait, at most")
	streams := flag.Int("streams", 1<<20, "gRPC: requests under way on a connection, at most")
	timeout := flag.Duration("timeout", 10*time.Second, "after which a request is given up")
	series := flag.String("series", "", "file for a line per request: due (ns since 1970), latency (ns), status (-1: none), length and CRC-32 of the answer")
	flag.Var(&headers, "header", "'name: value'; may be repeated")
	flag.Parse()
	if flag.NArg() > 0 || *rate < 0 || *seconds <= 0 || *connections < 1 || *streams < 1 {
		return errors.New("a wrong argument; see -help")
	}
	to, err := parseTarget(*target)
	if err != nil {
		return err
	}
	if to.bodies, err = readPayloads(*payloads); err != nil {
		return err
	}
	if to.headers, err = parseHeaders(headers); err != nil {
		return err
	}
	if *inTurn != "" {
		text, err := os.ReadFile(*inTurn)
		if err != nil {
			return err
		}
		if to.inTurn, err = parseHeaders(strings.Split(strings.TrimSpace(string(text)), "\n")); err != nil {
			return err
		}
	}

	// A collection would be a stall of our own. What a run allocates fits into memory; the limit is for one that does not.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(1 << 30)
	runtime.LockOSThread()
	l := newLoop(to, settings{*rate, time.Duration(*seconds * 1e9), *connections, max(*most, *connections), *streams, *timeout})
	if err := l.run(); err != nil {
		return err
	}
	standBack()
	if *series != "" {
		if err := writeSeries(*series, l); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(summary(l))
}

// standBack has all threads run as others do from now on (sched(7)): another generator may still be measuring.
func standBack() {
	threads, _ := os.ReadDir("/proc/self/task") // without it they go on as they are
	for _, thread := range threads {
		if id, err := strconv.Atoi(thread.Name()); err == nil {
			_ = unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
		}
	}
}

// readPayloads returns what -payloads names; nothing without a name.
func readPayloads(path string) (payloads [][]byte, err error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	for len(data) >= 4 && err == nil {
		size := int(binary.BigEndian.Uint32(data))
		if len(data)-4 < size {
			return nil, fmt.Errorf("%s: the last payload is cut short", path)
		}
		payloads, data = append(payloads, data[4:4+size]), data[4+size:]
	}
	return payloads, err
}

func parseHeaders(lines []string) (headers [][2]string, err error) {
	for _, line := range lines {
		name, value, found := strings.Cut(line, ":")
		if !found {
			return nil, fmt.Errorf("found the header '%s', expected 'name: value'", line)
		}
		headers = append(headers, [2]string{strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	return headers, nil
}

// summary condenses a run that is over.
func summary(l *loop) report {
	r := report{Sent: len(l.requests), Waited: l.waited, Opened: l.opened, Seconds: time.Duration(l.last).Seconds()}
	latencies := make([]int64, len(l.requests))
	behind := make([]int64, len(l.requests))
	for i, asked := range l.requests {
		latencies[i], behind[i] = asked.latency, asked.sent-asked.due
		if asked.status >= 0 {
			r.Answered++
		}
		if asked.good {
			r.Good++
		}
		r.Length += int64(asked.length)
	}
	slices.Sort(latencies)
	slices.Sort(behind)
	r.P50, r.P90, r.P99, r.P999 = share(latencies, 0.5), share(latencies, 0.9), share(latencies, 0.99), share(latencies, 0.999)
	r.Worst, r.Behind = share(latencies, 1), share(behind, 0.99)
	return r
}

// share returns the smallest value that at least this share (above 0) of the sorted values, in ns, does not exceed; in us.
func share(sorted []int64, of float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(of*float64(len(sorted)))) - 1
	return float64(sorted[rank]) / 1e3
}

func writeSeries(path string, l *loop) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	for _, asked := range l.requests {
		fmt.Fprintln(out, l.epoch+asked.due, asked.latency, asked.status, asked.length, asked.crc)
	}
	return errors.Join(out.Flush(), file.Close())
}
