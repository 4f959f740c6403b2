package web_test

import (
	"context"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/ringway-im/ringway/nodes/web"
)

func TestStaticHandler(t *testing.T) {
	server := httptest.NewServer(web.StaticHandler(web.StaticFS()))
	defer server.Close()
	for name, kind := range map[string]string{"": "text/html", "app.js": "text/javascript", "style.css": "text/css", "favicon.svg": "image/svg+xml"} {
		response, err := http.Get(server.URL + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(got, kind) {
			t.Errorf("/%s: %s as %q, want 200 as %s", name, response.Status, got, kind)
		}
		if got := response.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'self';") {
			t.Errorf("/%s: policy %q", name, got)
		}
	}
}

// What the page needs stands beside it: no other host, nothing inline, no markup made of data.
func TestStaticStandsAlone(t *testing.T) {
	files := web.StaticFS()
	forbidden := regexp.MustCompile(`https?://(?:[^w]|w[^w])|innerHTML|outerHTML|insertAdjacentHTML|document\.write|<style|\sstyle=|\son[a-z]+=|<script(?:>|[^>]*[^c]>[^<])`)
	wanted := regexp.MustCompile(`(?:src|href|from) ?=? ?"(?:\./)?([a-z]+\.[a-z]+)"`)
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if found := forbidden.Find(text); found != nil {
			t.Errorf("%s: has %q", name, found)
		}
		for _, match := range wanted.FindAllSubmatch(text, -1) {
			if _, err := fs.Stat(files, path.Clean(string(match[1]))); err != nil {
				t.Errorf("%s: needs %s: %v", name, match[1], err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

type step = chromedp.Action[chromedp.Void]

// TestPage uses the page as a person would, in a browser, against the mock.
func TestPage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			browser = found
			break
		}
	}
	if browser == "" {
		t.Skip("no Chromium or Chrome on the path")
	}

	m := newMock(web.StaticFS())
	defer m.close()
	server := httptest.NewServer(m)
	defer server.Close()
	defer m.hangUp()

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	ctx, cancel := chromedp.NewContext(allocator)
	defer cancel()

	do := func(what string, steps ...step) {
		t.Helper()
		limit, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := chromedp.Do(limit, steps...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	wait := func(what, expression string) {
		t.Helper()
		limit, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if _, err := chromedp.Run(limit, chromedp.Poll[bool](expression)); err != nil {
			t.Fatalf("%s: %v, waiting for %s", what, err, expression)
		}
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1400, 900)); err != nil { // starts the browser, which ends with this context
		t.Fatalf("start %s: %v", browser, err)
	}
	var complaints []string
	go func() {
		for message, err := range chromedp.Console(ctx) {
			if err != nil {
				return
			}
			if message.Type == "error" || message.IsException() {
				m.mu.Lock()
				complaints = append(complaints, message.String())
				m.mu.Unlock()
			}
		}
	}()

	const number = "+639170000001"
	phone := `[data-handset="` + number + `"]`
	do("sign in", chromedp.Navigate(server.URL), chromedp.WaitVisible("#signin"))
	wait("the demo's users are filled in", `document.getElementById("signin-password").value !== ""`)
	do("sign in", chromedp.Click("#signin"), chromedp.Click(`[data-contact="`+number+`"]`))
	wait("stream", `document.getElementById("stream-state").dataset.state === "live"`)

	do("send", chromedp.SendKeys("#compose", "first <b>text</b>"), chromedp.Click("#send"))
	wait("delivered", `document.querySelectorAll('.mine[data-message-id][data-state="delivered"]').length === 1`)
	wait("handset has it, as text", `[...document.querySelectorAll('`+phone+` .sms p')].map(p => p.textContent).join() === "first <b>text</b>"`)
	wait("the rings moved", `["hub-down", "edge-down"].every(name => { const ring = document.querySelector('[data-ring="' + name + '"]').dataset; return ring.processed === "1" && ring.retrieved === "1" && ring.free === "255" })`)

	do("reply", chromedp.SendKeys(phone+" .handset-compose", "an answer"), chromedp.Click(phone+" .handset-send"))
	wait("the person has it", `[...document.querySelectorAll(".theirs .text")].map(p => p.textContent).join() === "an answer"`)

	do("cut", chromedp.Click("#cut"))
	wait("interrupted", `document.getElementById("link-state").dataset.state === "interrupted" && document.getElementById("cut").getAttribute("aria-pressed") === "true"`)
	do("send while cut", chromedp.SendKeys("#compose", "during the cut"), chromedp.Click("#send"))
	wait("accepted, and waiting", `document.querySelector(".mine:last-child").dataset.state === "retrieved"`)
	if streams := m.hangUp(); streams != 1 {
		t.Fatalf("%d streams, want 1", streams)
	}
	do("restore while the stream reconnects", chromedp.Click("#cut"))
	wait("delivered after the cut, states missed meanwhile included", `document.querySelectorAll('.mine[data-state="delivered"]').length === 2`)

	do("switch off, send", chromedp.Click(phone+" .power"), chromedp.SendKeys("#compose", "asleep?"), chromedp.Click("#send"))
	wait("processed", `document.querySelector(".mine:last-child").dataset.state === "processed"`)
	do("switch on", chromedp.Click(phone+" .power"))
	wait("delivered now", `document.querySelector(".mine:last-child").dataset.state === "delivered"`)

	do("unknown number", chromedp.SendKeys("#contact-add-input", "+49 (30) 1234"), chromedp.Click("#contact-add"), chromedp.SendKeys("#compose", "x"), chromedp.Click("#send"))
	wait("refused, with the hub's words", `document.querySelector('.mine[data-state="refused"]')?.textContent.includes("No edge has a prefix for +49301234")`)
	do("unknown person", chromedp.SendKeys("#contact-add-input", "carol"), chromedp.Click("#contact-add"))
	wait("said so", `document.getElementById("contact-error").textContent.includes("carol")`)

	do("reload", chromedp.Sleep(500*time.Millisecond), chromedp.Reload())
	wait("signed in again", `document.getElementById("stream-state").dataset.state === "live"`)
	do("the conversation", chromedp.Click(`[data-contact="`+number+`"]`))
	wait("is as it was", `document.querySelectorAll('.mine[data-state="delivered"]').length === 3 && document.querySelectorAll(".theirs").length === 1`)

	m.mu.Lock()
	defer m.mu.Unlock()
	for _, message := range m.order {
		if message.To == "alice" && !m.received[message.ID] {
			t.Errorf("the page did not say that it has %q", message.Text)
		}
	}
	for _, complaint := range complaints {
		if !strings.Contains(complaint, "404") { // carol
			t.Errorf("console: %s", complaint)
		}
	}
}
