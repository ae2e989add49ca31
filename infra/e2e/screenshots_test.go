package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Pictures of each view for the documents, `make screenshots`: light and dark, on a desk and on a phone.
func TestScreenshots(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("PENSTOCK_SCREENSHOTS")
	if dir == "" {
		t.Skip("runs in `make screenshots`, which says where the pictures go")
	}
	takePictures(t, startServer(t, "--flush-age", "10s"), dir)
}

func takePictures(t *testing.T, s *server, dir string) {
	t.Helper()
	busy, cancel := context.WithCancel(t.Context())
	var trading sync.WaitGroup
	defer trading.Wait()
	defer cancel()
	id := trade(s, busy, &trading)
	for _, device := range []struct {
		name          string
		width, height int64
		mobile        bool
	}{{"desktop", 1280, 800, false}, {"phone", 390, 844, true}} {
		options := []chromedp.EmulateViewportOption{}
		if device.mobile {
			options = append(options, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2))
		}
		p := open(t, s, chromedp.EmulateViewport(device.width, device.height, options...))
		p.awaitText("#standing", "Live")
		for view, prepare := range map[string]func(){
			"overview": func() { awaitHistory(p) },
			"send":     func() { pictureSend(p) },
			"find": func() {
				p.fill("#find-id", id)
				p.press(kb.Enter)
				p.awaitText("#find-body", "items")
			},
			"sql": func() {
				p.ask("SELECT type, json_extract_scalar(data, '$.city') AS city, count(*) AS events,\n       sum(size) AS bytes, approx_percentile(size, 0.99) AS p99_size\nFROM events\nGROUP BY 1, 2\nORDER BY events DESC")
				p.await(cell(0, 0))
			},
			"chart": func() {
				p.ask("SELECT json_extract_scalar(data, '$.city') AS city, count(*) AS orders\nFROM events\nWHERE type = 'order'\nGROUP BY 1\nORDER BY orders DESC")
				p.click("#sql-tab-chart")
				p.await("document.querySelectorAll('#plot .bar').length > 3")
			},
		} {
			if view == "chart" {
				p.view("sql")
			} else {
				p.view(view)
			}
			prepare()
			p.script("document.activeElement.blur(); scrollTo(0, 0)")
			for _, scheme := range []string{"light", "dark"} {
				feature := &emulation.MediaFeature{Name: "prefers-color-scheme", Value: scheme}
				p.do(send(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{feature}}))
				p.await(fmt.Sprintf("matchMedia('(prefers-color-scheme: %s)').matches", scheme))
				picture := within(p, chromedp.CaptureScreenshot())
				save(t, filepath.Join(dir, fmt.Sprintf("%s-%s-%s.png", view, device.name, scheme)), picture)
			}
		}
	}
}

// trade posts orders and readings until busy ends; then trading does. It returns the id of one order.
func trade(s *server, busy context.Context, trading *sync.WaitGroup) (id string) {
	s.t.Helper()
	order := `{"order": 1042, "city": "Lisbon", "customer": {"login": "ada", "since": 2019}, "items": [{"sku": "A-7", "price": 12.50}, {"sku": "K-2", "price": 3.00}], "total": 15.50, "paid": true, "note": null}`
	id = fmt.Sprint(s.post("?type=order&source=/shop&subject=1042", "application/json", []byte(order))["id"])
	cities := []string{"Lisbon", "Oslo", "Quito", "Hanoi", "Accra", "Lima", "Turin"}
	trading.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for wave := 0.0; ; wave += 0.03 {
			select {
			case <-tick.C:
			case <-busy.Done():
				return
			}
			var lines bytes.Buffer
			for range 60 + int(30*math.Sin(wave)) + rand.IntN(20) {
				city := cities[min(rand.IntN(len(cities)), rand.IntN(len(cities)))]
				fmt.Fprintf(&lines, "{\"order\":%d,\"city\":%q,\"total\":%.2f,\"note\":%q}\n", rand.IntN(1e6), city, rand.Float64()*200, bytes.Repeat([]byte("x"), rand.IntN(300)))
			}
			kind := []string{"order", "order", "order", "reading", "visit"}[rand.IntN(5)]
			for query, body := range map[string]string{"?type=" + kind: lines.String(), "?type=ping": "{\"ping\":true}\n"} {
				res, err := http.Post(s.url+"/v1/events"+query, "application/x-ndjson", strings.NewReader(body))
				if err != nil {
					return // the pictures will have too little to show, and say so
				}
				_ = res.Body.Close() // nothing of it is wanted
			}
		}
	})
	return id
}

// awaitHistory waits until the charts have something to show.
func awaitHistory(p *tab) {
	p.t.Helper()
	p.script("scrollTo(0, 0)")
	p.await("document.querySelector('#charts .line').getAttribute('d').split('L').length > 50")
}

func pictureSend(p *tab) {
	p.t.Helper()
	p.fill("#send-text", "{\"order\": 1, \"city\": \"Oslo\"}\n{\"order\": 2, \"city\":\n{\"order\": 3, \"city\": \"Lima\"}")
	p.fill("#send-type", "order")
	p.click("#send-form [type=submit]")
	p.awaitText("#send-results", "1 problem")
	p.fill("#send-text", "{\n  \"sensor\": \"roof-7\",\n  \"celsius\": 21.5\n}")
	p.fill("#send-type", "reading")
	p.click("#send-form [type=submit]")
	p.awaitText("#send-results", "acked in")
}

// save writes a PNG with at most 256 colours: a page has few, and a document should be quick to load.
func save(t *testing.T, path string, picture []byte) {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[color.RGBA]int{}
	bounds := full.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(full.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			seen[at(x, y)]++
		}
	}
	common := slices.SortedFunc(maps.Keys(seen), func(a, b color.RGBA) int { return cmp.Compare(seen[b], seen[a]) })
	palette := color.Palette{}
	for _, c := range common[:min(len(common), 256)] {
		palette = append(palette, c)
	}
	nearest := map[color.RGBA]uint8{}
	for c := range seen {
		nearest[c] = uint8(palette.Index(c))
	}
	small := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			small.SetColorIndex(x, y, nearest[at(x, y)])
		}
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, small); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
