package e2e

import "testing"

// What the page computes, asked of its modules in the browser that runs them.
func TestModules(t *testing.T) {
	t.Parallel()
	p := open(t, startServer(t))
	for name, c := range map[string]struct{ script, want string }{
		"CSV, cut anywhere": {`
			const { CSVReader } = await import('/console/csv.js')
			const text = '"a","b ""c"""\n"1",\n"","x,\ny"\n,"\u{1F6B0}"\n'
			const results = new Set()
			for (let cut = 0; cut <= text.length; cut++) {
				const reader = new CSVReader()
				results.add(JSON.stringify([...reader.push(text.slice(0, cut)), ...reader.push(text.slice(cut))]))
			}
			return [...results].map((one) => JSON.parse(one))`,
			`[[["a","b \"c\""],["1",null],["","x,\ny"],[null,"🚰"]]]`},
		"quantiles": {`
			const { quantile } = await import('/console/stats.js')
			return [quantile([1, 2], [0, 0, 0], .5), quantile([1, 2], [2, 2, 0], .5), quantile([1, 2], [0, 4, 0], .5), quantile([1, 2], [0, 0, 9], .99)]`,
			`[null,1,1.5,2]`},
		"rates": {`
			const { between } = await import('/console/stats.js')
			const look = (time, since, events, counts) => ({ time, since, accepted: { events, bytes: 10 * events }, acks: { bounds: [1], counts }, sinks: [{ sink: 'lake', lagSeconds: 3 }] })
			const a = look('2026-01-01T00:00:00.000000Z', 's', 100, [100, 0]), b = look('2026-01-01T00:00:02.000000Z', 's', 300, [300, 0])
			const restarted = look('2026-01-01T00:00:04.000000Z', 't', 1, [1, 0])
			return [between(a, b).events, between(a, b).bytes, between(a, b).p50, between(a, b).lag.lake, between(b, restarted).events, between(null, a).events]`,
			`[100,1000,0.5,3,null,null]`},
		"JSON keeps its spelling": {`
			const { layOut } = await import('/console/json.js')
			return layOut(' {"a":1.50,"a":[ ],"b":{"c":[true,null,"\\"x\\\\"]},"d":12345678901234567890e-2}').map((piece) => piece.text).join('')`,
			`"{\n  \"a\": 1.50,\n  \"a\": [],\n  \"b\": {\n    \"c\": [\n      true,\n      null,\n      \"\\\"x\\\\\"\n    ]\n  },\n  \"d\": 12345678901234567890e-2\n}"`},
		"JSON, long and cut": {`
			const { layOut, layOutLimit } = await import('/console/json.js')
			const long = layOut('["' + 'x'.repeat(20e6) + '", 1]')
			return [long.map((piece) => piece.text).join('').length === layOutLimit, layOut('"open').length, layOut('}{]').length > 0]`,
			`[true,1,true]`},
		"values of charts": {`
			const { numberOf, kindOf } = await import('/console/plot.js')
			return [numberOf('1.5'), numberOf('1970-01-01 00:00:01.000000 UTC'), numberOf('1970-01-02'), numberOf(''), kindOf([['1'], [null]], 0), kindOf([['x']], 0), kindOf([['2026-01-01']], 0)]`,
			`[1.5,1000,86400000,null,"number","text","time"]`},
		"lines": {`
			const { looksLikeLines, batchesOf } = await import('/console/lines.js')
			const batches = []
			for await (const batch of batchesOf(new Blob(['{"a":1}\r\n\n \n', '2\n"', 'x"']).stream())) {
				batches.push(batch.map((line) => [line.number, new TextDecoder().decode(line.bytes)]))
			}
			return [looksLikeLines('1\n2'), looksLikeLines('{\n"a":1}'), looksLikeLines('{"a":1}\n{'), looksLikeLines('x\ny'), batches]`,
			`[true,false,true,false,[[[1,"{\"a\":1}\r"],[4,"2"],[5,"\"x\""]]]]`},
		"a line that is too long": {`
			const { batchesOf, maxDocument } = await import('/console/lines.js')
			const long = 'x'.repeat(maxDocument + 1)
			const lines = []
			for await (const batch of batchesOf(new Blob(['1\n', long, '\n2\n', long]).stream())) {
				lines.push(...batch.map((line) => [line.number, line.bytes.length, line.tooLong]))
			}
			return lines`,
			`[[1,1,false],[2,0,true],[3,1,false],[4,0,true]]`},
		"a load balancer's refusal is no answer": {`
			const { postOnce } = await import('/console/api.js')
			const fetched = window.fetch, keys = new Set()
			const answers = [new Response('<h1>Bad gateway</h1>', { status: 502, headers: { 'Content-Type': 'text/html' } }), Response.json({ id: 'x' }, { status: 202 })]
			window.fetch = async (path, init) => {
				if (path !== '/v1/events') return fetched(path, init)
				keys.add(init.headers.get('Idempotency-Key'))
				return answers.shift()
			}
			const { status } = await postOnce('/v1/events', 'application/json', '{}')
			window.fetch = fetched
			return [status, answers.length, keys.size]`,
			`[202,0,1]`},
		"rows that nobody has counted": {`
			const { Result } = await import('/console/result.js')
			const total = (known, whole) => Result.prototype.total.call({ known, whole, rows: [1, 2] })
			return [total({}, true), total({}, false), total({ rows: 0 }, true), total({ rows: 9 }, false)]`,
			`[2,null,0,9]`},
		"a connection that is silent is asked, and then given up": {`
			const { Push } = await import('/console/push.js')
			const push = new Push(), sent = [], told = [], was = [window.setInterval, performance.now]
			let tick, now = 0, again = false
			window.setInterval = (f) => { tick = f }
			performance.now = () => now
			push.connect = () => { again = true }
			const follower = { connection: (connected) => told.push(connected), state: () => told.push('state'), result: () => told.push('result') }
			const say = (type) => push.socket.dispatchEvent(new MessageEvent('message', { data: JSON.stringify({ type, executionId: 'e' }) }))
			const pass = (seconds) => { now += 1000 * seconds; tick() }
			push.socket = Object.assign(new EventTarget(), { send: (text) => sent.push(JSON.parse(text).action), close() {} })
			push.use(push.socket)
			pass(600) // nothing is followed: nothing is to be said
			push.follow('e', follower)
			pass(10)
			pass(10) // it is asked
			say('state')
			pass(10)
			pass(60) // asked again; the page slept meanwhile
			say('result')
			pass(20) // not asked, or the result would begin anew
			const before = again
			pass(20)
			window.setInterval = was[0]
			performance.now = was[1]
			return [sent, told, before, again, push.socket]`,
			`[["subscribe","subscribe","subscribe"],["state","result",false],false,true,null]`},
		"a file that misses its place": {`
			const drop = (data) => !document.body.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: data }))
			const file = new DataTransfer(), text = new DataTransfer()
			file.items.add(new File(['1'], 'x.json'))
			text.setData('text/plain', 'x')
			return [drop(file), drop(text)]`,
			`[true,false]`},
		"what is known of a batch that ends with an error": {`
			const { postLines } = await import('/console/post.js')
			const fetched = window.fetch
			const answers = [
				Response.json({ items: [{ status: 202, id: 'a' }, { status: 503, problem: { type: '/problems/overloaded', retryAfter: 0.01 } }] }, { status: 207 }),
				Response.json({ title: 'no' }, { status: 403, headers: { 'Content-Type': 'application/problem+json' } }),
			]
			window.fetch = async (path, init) => (path === '/v1/events' ? answers.shift() : fetched(path, init))
			const outcome = { ids: [], problems: [] }
			let error = ''
			const lines = [1, 2].map((number) => ({ number, bytes: new Uint8Array([49]), tooLong: false }))
			await postLines(lines, new URLSearchParams(), new AbortController().signal, outcome).catch((thrown) => { error = thrown.title })
			window.fetch = fetched
			return [outcome, error]`,
			`[{"ids":["a"],"problems":[]},"no"]`},
		"words": {`
			const { suggestions } = await import('/console/editor.js')
			const { tokens } = await import('/console/highlight.js')
			return [suggestions('rec').map((one) => one.word), suggestions('TYPE'), suggestions('approx_d')[0].insert,
				tokens("SELECT count(*) FROM events -- 'x'\nWHERE id = 'it''s' /*").map((token) => token.kind)]`,
			`[["received_at"],[],"approx_distinct(",["keyword","function","keyword","column","comment","keyword","column","text","comment"]]`},
		"figures": {`
			const { bytes, count, duration, short } = await import('/console/format.js')
			return [bytes(0), bytes(999), bytes(1000), bytes(1.5e9), count(null), count(1234567), count(2.5), duration(0.0004), duration(0.0123), duration(3), duration(75), duration(90061), short(1250), short(0.5), short(832.3), short(12.34)]`,
			`["0 B","999 B","1.00 kB","1.50 GB","–","1,234,567","2.5","400 µs","12 ms","3.0 s","1 min 15 s","25 h 1 min","1.25 k","0.5","832","12.3"]`},
	} {
		t.Run(name, func(t *testing.T) {
			// As text, since JSON has more than one spelling.
			got := eval[string](p, "(async () => {"+c.script+"})().then((value) => JSON.stringify(value))")
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
