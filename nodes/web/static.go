package web

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed static
var embedded embed.FS

// StaticFS is the page of `ringway demo`: index.html and what it loads. It needs nothing from other hosts.
func StaticFS() fs.FS {
	files, err := fs.Sub(embedded, "static")
	if err != nil {
		panic("web: the embedded page: " + err.Error()) // only a name that is no path fails
	}
	return files
}

// contentSecurityPolicy allows the page its own files and its own server, WebSocket included ('self' covers ws: and
// wss: of the same origin in CSP level 3); nothing inline, no other host, no frame around it.
const contentSecurityPolicy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

// StaticHandler serves the page's files (StaticFS) with the headers the page is written for. Mount it at /.
func StaticHandler(files fs.FS) http.Handler {
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", contentSecurityPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-cache") // embedded files have no date to compare; a new binary is a new page
		server.ServeHTTP(w, r)
	})
}
