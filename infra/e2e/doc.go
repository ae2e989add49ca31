// Package e2e drives the console in a real browser, Chromium, over the real program: `make e2e`.
//
// It is tests only, and imports nothing of Penstock: what it knows of the server is what anybody can ask it. It runs where
// PENSTOCK_E2E names the program's binary, and fails where Chromium is missing then. What a page must never do is looked for in
// every test: an error in the console, a request to another host, a breach of the content security policy, a dialog.
package e2e
