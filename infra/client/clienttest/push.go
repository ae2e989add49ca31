package clienttest

import (
	"net/http"

	"github.com/fasthttp/websocket"
)

// Push makes a WebSocket of a request, takes a subscription, and has messages send to whoever subscribed. It waits then until the
// client closes the connection, unless messages wants it broken.
func Push(w http.ResponseWriter, r *http.Request, messages func(executionID string, send func(message any)) (breaks bool)) {
	upgrader := websocket.Upgrader{Subprotocols: []string{"penstock.v1"}}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the client was told
	}
	defer conn.Close() //nolint:errcheck // the client may have closed it
	var request struct{ Action, ExecutionID, Deliver string }
	if err := conn.ReadJSON(&request); err != nil || request.Action != "subscribe" || request.Deliver != "url" {
		return // a client that breaks off; it will be missed
	}
	breaks := messages(request.ExecutionID, func(message any) {
		_ = conn.WriteJSON(message) // the client may be gone
	})
	for !breaks && err == nil {
		_, _, err = conn.ReadMessage()
	}
}
