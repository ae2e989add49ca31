package httpapi

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
)

// consoleFiles are the console: a page and what it loads, served as they lie there.
//
//go:embed console
var consoleFiles embed.FS

const (
	// consolePath is before the name of a file of the console.
	consolePath = "/console/"
	// consolePage is the page itself, at "/".
	consolePage = "index.html"
	mediaHTML   = "text/html"
)

// consolePolicy lets the page load and ask nothing but this server. It has no inline script or style, and with Trusted Types a
// browser refuses to make markup of a text: all that is shown came from strangers.
const consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// asset is a file of the console.
type asset struct {
	media string
	etag  string
	bytes []byte
}

// consoleAssets reads the embedded files.
func consoleAssets() (map[string]asset, error) {
	entries, err := consoleFiles.ReadDir("console")
	if err != nil {
		return nil, fmt.Errorf("http: the console: %w", err)
	}
	assets := make(map[string]asset, len(entries))
	for _, entry := range entries {
		name := entry.Name()
		data, err := consoleFiles.ReadFile(path.Join("console", name))
		if err != nil {
			return nil, fmt.Errorf("http: the console: %w", err)
		}
		media, err := assetMedia(name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		assets[name] = asset{media, `"` + hex.EncodeToString(sum[:16]) + `"`, data}
	}
	return assets, nil
}

// assetMedia is a list of our own: the mime package's depends on the machine.
func assetMedia(name string) (string, error) {
	switch extension := path.Ext(name); extension {
	case ".html":
		return mediaHTML + "; charset=utf-8", nil
	case ".css":
		return "text/css; charset=utf-8", nil
	case ".js":
		return "text/javascript; charset=utf-8", nil
	case ".svg":
		return "image/svg+xml", nil
	default:
		return "", fmt.Errorf("http: the console's %s: no media type is known for %q", name, extension)
	}
}

// getConsole serves a file of the console.
func (s *Server) getConsole(x *exchange) error {
	file, ok := s.console[x.param("file")]
	if !ok {
		return refuse(notFound, "The console has no such file.")
	}
	writeAsset(x, file)
	return nil
}

// writeAsset has the client keep the file, and ask each time whether it is still the same: a new version of the server is a new
// console at once, and never half of one.
func writeAsset(x *exchange, file asset) {
	h := &x.ctx.Response.Header
	h.Set("ETag", file.etag)
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", consolePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if hasToken(x.ctx.Request.Header.Peek("If-None-Match"), file.etag) {
		x.ctx.Response.SetStatusCode(http.StatusNotModified)
		return
	}
	h.SetContentType(file.media)
	x.ctx.Response.SetBodyRaw(file.bytes)
}

// getIndex is the console for a browser, and a page of text for whoever does not ask for HTML by name, as curl doesn't.
func (s *Server) getIndex(x *exchange) error {
	x.ctx.Response.Header.Set("Vary", "Accept")
	if accepts(x.header("Accept"), mediaHTML) {
		writeAsset(x, s.console[consolePage])
		return nil
	}
	x.ctx.Response.Header.SetContentType(mediaPlain)
	x.ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	x.ctx.Response.SetBodyString(indexPage + eventsURL(&x.ctx.Request.Header) + "\n")
	return nil
}

// indexPage is what there is, in a terminal.
const indexPage = `Penstock: a durable front door for JSON. In a browser this address is the console.

  POST /v1/events             a document; its id comes back once it is durable
  GET  /v1/events/{id}        the document, byte for byte
  POST /v1/queries            SQL over everything: {"sql": "SELECT type, count(*) FROM events GROUP BY 1"}
  GET  /v1/queries/{id}       state of the query; …/result is the CSV
  GET  /v1/ws                 WebSocket that brings state and result by itself
  GET  /v1/lake               state of the table that SQL reads
  GET  /v1/stats              how the server does right now
  GET  /v1/dead-letters       what a sink could not take
  GET  /openapi.yaml          all of it, exactly
  GET  /healthz /readyz       alive, ready

Try:  curl -H 'Content-Type: application/json' -d '{"hello":"world"}' `
