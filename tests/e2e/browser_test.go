package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/ringway-im/ringway/tests/need"
)

// A newcomer's way through the demo, in a browser: sign in, write to a handset,
// be answered, cut the link and see the rings fill, restore it and see them drain.
func TestBrowserDemo(t *testing.T) {
	if !isLong() && os.Getenv("RINGWAY_NO_SKIP") != "1" {
		t.Skip("it takes half a minute: make browser-test")
	}
	browser := need.Program(t, "chromium", "chromium-browser", "google-chrome", "chrome")
	at := "http://" + address(t)
	launch(t, "demo", "--listen", at[len("http://"):], "--rtt", "100ms", "--data", t.TempDir())
	eventually(t, 20*time.Second, func() string {
		status, _, err := api{t: t, base: at}.try(t.Context(), "GET", "/demo/config", nil, nil)
		if status == http.StatusOK {
			return ""
		}
		return fmt.Sprint("the demo does not answer: ", err)
	})

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	ctx, cancel := chromedp.NewContext(allocator)
	defer cancel()
	do := func(what string, steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		limit, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := chromedp.Do(limit, steps...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	wait := func(what, expression string) {
		t.Helper()
		limit, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if _, err := chromedp.Run(limit, chromedp.Poll[bool](expression)); err != nil {
			t.Fatalf("%s: %v, waiting for %s", what, err, expression)
		}
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1400, 900)); err != nil { // starts the browser, which ends with this context
		t.Fatalf("start %s: %v", browser, err)
	}
	var mu sync.Mutex
	var complaints []string
	go func() {
		for message, err := range chromedp.Console(ctx) {
			if err != nil {
				return
			}
			if message.Type == "error" || message.IsException() {
				mu.Lock()
				complaints = append(complaints, message.String())
				mu.Unlock()
			}
		}
	}()

	const number = "+639170000001"
	phone := `[data-handset="` + number + `"]`
	rings := func(test string) string {
		return `["hub-down", "edge-down", "hub-up", "edge-up"].every(name => { const ring = document.querySelector('[data-ring="' + name + '"]').dataset; return ` + test + ` })`
	}
	do("open", chromedp.Navigate(at), chromedp.WaitVisible("#signin"))
	wait("the demo's users are filled in", `document.getElementById("signin-password").value !== ""`)
	do("sign in", chromedp.Click("#signin"), chromedp.Click(`[data-contact="`+number+`"]`))
	wait("stream", `document.getElementById("stream-state").dataset.state === "live"`)
	wait("link", `document.getElementById("link-state").dataset.state === "up"`)

	do("send", chromedp.SendKeys("#compose", "first <b>text</b>"), chromedp.Click("#send"))
	wait("delivered", `document.querySelectorAll('.mine[data-message-id][data-state="delivered"]').length === 1`)
	wait("the handset has it", `[...document.querySelectorAll('`+phone+` .sms p')].map(p => p.textContent).join() === "first <b>text</b>"`)
	do("answer", chromedp.SendKeys(phone+" .handset-compose", "an answer"), chromedp.Click(phone+" .handset-send"))
	wait("the person has it", `[...document.querySelectorAll(".theirs .text")].map(p => p.textContent).join() === "an answer"`)

	do("cut", chromedp.Click("#cut"))
	wait("interrupted", `document.getElementById("link-state").dataset.state === "interrupted"`)
	do("send while cut", chromedp.SendKeys("#compose", "during the cut"), chromedp.Click("#send"), chromedp.Click("#pour"))
	wait("both senders' rings are full", `["hub-down", "edge-up"].every(name => document.querySelector('[data-ring="' + name + '"]').dataset.free === "0")`)
	do("stop pouring", chromedp.Click("#pour"))
	wait("accepted, and waiting", `["accepted", "retrieved", "sent"].includes(document.querySelector(".mine:last-child").dataset.state)`)
	do("restore", chromedp.Click("#cut"))
	wait("delivered after the cut", `document.querySelectorAll('.mine[data-state="delivered"]').length === 2`)
	wait("the rings drain", rings(`ring.free === "255"`))
	wait("link is up again", `document.getElementById("link-state").dataset.state === "up"`)

	// The same page, as it stands, on a phone: nothing sticks out, and nothing lies on what it takes to use it.
	problems := func(controls string) []string {
		t.Helper()
		limit, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		unfit, err := chromedp.Run(limit, chromedp.Evaluate[[]string](`[...document.querySelectorAll('`+controls+`')].filter(e => {
			e.scrollIntoView({ block: "center", behavior: "instant" });
			const box = e.getBoundingClientRect();
			return box.left < 0 || box.right > 375 || !e.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
		}).map(e => (e.id || e.className) + " is out of sight").concat(document.scrollingElement.scrollWidth > 375 ? ["the page is " + document.scrollingElement.scrollWidth + " wide"] : [])`))
		if err != nil {
			t.Fatal(err)
		}
		return unfit
	}
	do("on a phone", chromedp.EmulateViewport(375, 812, chromedp.EmulateMobile, chromedp.EmulateTouch))
	wait("as wide as the phone", `innerWidth === 375`)
	for part, controls := range map[string]string{
		"chat": "#compose, #send, #contact-add", "link": "#cut, #pour, #rtt, #jitter", "handsets": phone + " .handset-compose, " + phone + " .handset-send, #handset-add",
	} {
		do("to "+part, chromedp.Click(`.tabs [data-go="`+part+`"]`))
		if unfit := problems(controls); len(unfit) > 0 {
			t.Errorf("%s on a phone: %s", part, strings.Join(unfit, ", "))
		}
	}

	mu.Lock()
	defer mu.Unlock()
	if len(complaints) > 0 {
		t.Errorf("the console complains: %s", strings.Join(complaints, "\n"))
	}
}
