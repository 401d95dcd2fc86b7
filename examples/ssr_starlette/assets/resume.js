// Goes on where the server's HTML ends: it follows the stream from the offset in the page, so nothing is
// fetched twice. Reconnecting goes on from the last offset that was received.

const { stream, offset } = JSON.parse(document.getElementById("resume").textContent)
const entries = document.getElementById("entries")
const count = document.getElementById("count")
const received = document.getElementById("received")

follow(offset)

function follow(from) {
  const source = new EventSource(`${stream}?offset=${encodeURIComponent(from)}&live=sse`)
  let next = from
  source.addEventListener("data", (event) => JSON.parse(event.data).forEach(show))
  source.addEventListener("control", (event) => {
    next = JSON.parse(event.data).streamNextOffset
  })
  // The server ends every connection after a while, and networks do too. An EventSource would ask for its
  // first offset again, so a new one takes over.
  source.addEventListener("error", () => {
    source.close()
    setTimeout(follow, 200 + Math.random() * 800, next)
  })
}

function show({ payload }) {
  if (payload?.type !== "sign") return // an action of a newer version: a reload shows what it means
  const item = document.createElement("li")
  item.className = "new"
  for (const [tag, text] of [["strong", payload.name], ["span", payload.text]]) {
    item.append(Object.assign(document.createElement(tag), { textContent: text }))
  }
  entries.prepend(item)
  count.textContent = Number(count.textContent) + 1
  received.textContent = Number(received.textContent) + 1
}
