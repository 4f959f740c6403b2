package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/ringway-im/ringway/nodes/web"
	"github.com/ringway-im/ringway/tests/need"
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

// visitor is a person with a browser, before the page with a mock of the demo behind it.
type visitor struct {
	t          *testing.T
	ctx        context.Context
	mock       *mock
	complaints []string // of the browser's console; under mock.mu
}

func visit(t *testing.T, viewport step) *visitor {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser")
	}
	browser := need.Program(t, "chromium", "chromium-browser", "google-chrome", "chrome")
	m := newMock(web.StaticFS())
	t.Cleanup(m.close)
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	t.Cleanup(func() { m.hangUp() })

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	v := &visitor{t: t, ctx: ctx, mock: m}
	if err := chromedp.Do(ctx, viewport); err != nil { // starts the browser, which ends with this context
		t.Fatalf("start %s: %v", browser, err)
	}
	go func() {
		for message, err := range chromedp.Console(ctx) {
			if err != nil {
				return
			}
			if message.Type == "error" || message.IsException() {
				m.mu.Lock()
				v.complaints = append(v.complaints, message.String())
				m.mu.Unlock()
			}
		}
	}()
	v.do("open", chromedp.Navigate(server.URL))
	v.wait("the demo's users are filled in", `document.getElementById("signin-password").value !== ""`)
	return v
}

func (v *visitor) do(what string, steps ...step) {
	v.t.Helper()
	limit, cancel := context.WithTimeout(v.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(limit, steps...); err != nil {
		v.t.Fatalf("%s: %v", what, err)
	}
}

func (v *visitor) wait(what, expression string) {
	v.t.Helper()
	limit, cancel := context.WithTimeout(v.ctx, 20*time.Second)
	defer cancel()
	if _, err := chromedp.Run(limit, chromedp.Poll[bool](expression)); err != nil {
		v.t.Fatalf("%s: %v, waiting for %s", what, err, expression)
	}
}

// TestPage uses the page as a person would, in a browser, against the mock.
func TestPage(t *testing.T) {
	v := visit(t, chromedp.EmulateViewport(1400, 900))
	m, do, wait := v.mock, v.do, v.wait

	const number = "+639170000001"
	phone := `[data-handset="` + number + `"]`
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
	for _, complaint := range v.complaints {
		if !strings.Contains(complaint, "404") { // carol
			t.Errorf("console: %s", complaint)
		}
	}
}

// unfit is JavaScript: what of the page shown does not fit a phone's width, and which
// of these controls cannot be seen, or hit with a finger.
const unfit = `(selectors => {
	const problems = [], wide = document.scrollingElement.scrollWidth;
	const name = e => e.id ? "#" + e.id : e.localName + (e.className ? "." + e.className : "");
	if (innerWidth !== 375 || wide > 375 || visualViewport.scale !== 1) problems.push("the page is " + wide + " wide, the window " + innerWidth);
	for (const e of document.body.querySelectorAll("*")) {
		const box = e.getBoundingClientRect();
		if (box.width > 0 && (box.left < -0.5 || box.right > 375.5)) problems.push(name(e) + " reaches from " + box.left + " to " + box.right);
	}
	for (const selector of selectors) {
		const e = document.querySelector(selector);
		if (!e) { problems.push("no " + selector); continue; }
		e.scrollIntoView({ block: "center", behavior: "instant" });
		const box = e.getBoundingClientRect(), hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
		if (box.width < 24 || box.height < 24) problems.push(selector + " is " + box.width + " by " + box.height);
		if (!hit || !e.contains(hit)) problems.push(selector + " is behind " + (hit ? name(hit) : "nothing"));
	}
	scrollTo({ top: 0, behavior: "instant" });
	return problems;
})(%s)`

// fits fails the test unless the page fits and these controls can be used.
// PHONE_SCREENSHOTS names a folder for pictures of what was looked at.
func (v *visitor) fits(what string, controls ...string) {
	v.t.Helper()
	list, err := json.Marshal(controls)
	if err != nil {
		v.t.Fatal(err)
	}
	limit, cancel := context.WithTimeout(v.ctx, 20*time.Second)
	defer cancel()
	problems, err := chromedp.Run(limit, chromedp.Evaluate[[]string](fmt.Sprintf(unfit, list)))
	if err != nil {
		v.t.Fatalf("%s: %v", what, err)
	}
	for _, problem := range problems {
		v.t.Errorf("%s: %s", what, problem)
	}
	if folder := os.Getenv("PHONE_SCREENSHOTS"); folder != "" {
		picture, err := chromedp.Run(limit, chromedp.FullScreenshot(100))
		if err == nil {
			err = os.WriteFile(path.Join(folder, strings.ReplaceAll(what, " ", "-")+".png"), picture, 0o600)
		}
		if err != nil {
			v.t.Error(err)
		}
	}
}

// TestPageOnAPhone goes through all parts of the page on a phone of the usual size.
func TestPageOnAPhone(t *testing.T) {
	v := visit(t, chromedp.EmulateViewport(375, 812, chromedp.EmulateScale(2), chromedp.EmulateMobile, chromedp.EmulateTouch))
	const number = "+639170000001"
	phone := `[data-handset="` + number + `"]`
	tabs := []string{`.tabs [data-go="chat"]`, `.tabs [data-go="link"]`, `.tabs [data-go="handsets"]`}
	open := func(part string) { v.do("to "+part, chromedp.Click(`.tabs [data-go="`+part+`"]`)) }
	fits := func(what string, controls ...string) { v.t.Helper(); v.fits(what, append(controls, tabs...)...) }
	rings := []string{"#link-state", "#cut", "#pour", "#rtt", "#jitter", `.segmented [data-show="both"]`, `.segmented [data-show="down"]`, `.segmented [data-show="up"]`, `[data-ring="hub-down"]`, `[data-ring="edge-down"]`}

	fits("rings at first", append(rings, `[data-ring="hub-up"]`, `[data-ring="edge-up"]`)...)
	open("chat")
	fits("signing in", "#signin-user", "#signin-password", "#signin")
	v.do("sign in", chromedp.Click("#signin"), chromedp.Click(`[data-contact="`+number+`"]`))
	v.wait("stream", `document.getElementById("stream-state").dataset.state === "live"`)
	long := "A text without end. " + strings.Repeat("Donaudampfschifffahrtsgesellschaft", 6)
	v.do("send", chromedp.SendKeys("#compose", long), chromedp.Click("#send"))
	v.wait("delivered", `document.querySelectorAll('.mine[data-state="delivered"]').length === 1`)
	v.do("its story", chromedp.Click(".mine .state"))
	fits("a conversation", "#compose", "#send", "#signout", "#contact-add-input", "#contact-add", `[data-contact="`+number+`"]`, ".mine .state")

	open("handsets")
	v.wait("the handset has it", `document.querySelectorAll('`+phone+` .sms p').length === 1`)
	v.do("reply", chromedp.SendKeys(phone+" .handset-compose", long), chromedp.Click(phone+" .handset-send"))
	fits("handsets", phone+" .power", phone+" .handset-to", phone+" .handset-compose", phone+" .handset-send", "#handset-add-input", "#handset-add")
	open("chat")
	v.wait("the person has it", `document.querySelectorAll(".theirs .text").length === 1`)

	open("link")
	v.do("cut, pour", chromedp.Click("#cut"), chromedp.Click("#pour"))
	v.wait("interrupted, and queues grow", `document.getElementById("link-state").dataset.state === "interrupted" && document.querySelectorAll(".queue.some").length > 0`)
	fits("rings while cut", rings...)
	for _, way := range []string{"down", "up"} {
		v.do("only "+way, chromedp.Click(`.segmented [data-show="`+way+`"]`))
		fits("only "+way, "#cut", "#pour", "#rtt", "#jitter", `[data-ring="hub-`+way+`"]`, `[data-ring="edge-`+way+`"]`)
	}
	v.do("restore", chromedp.Click("#cut"))
	v.wait("up again", `document.getElementById("link-state").dataset.state === "up"`)
	fits("one ring each way, pouring", "#cut", "#pour")
	v.mock.mu.Lock()
	defer v.mock.mu.Unlock()
	for _, complaint := range v.complaints {
		t.Errorf("console: %s", complaint)
	}
}
