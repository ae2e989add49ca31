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
