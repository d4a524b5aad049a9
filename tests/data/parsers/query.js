// Reads hexadecimal queries, one a line, and prints 1 for each in which Express' parser (qs), Node's own or that of URLs
// finds the pair of argv. Without qs the other two are used.
const [key, value, folder] = process.argv.slice(2)
const parsers = [require('querystring').parse, (text) => Object.fromEntries([...new Set(new URLSearchParams(text).keys())].map((name) => [name, new URLSearchParams(text).getAll(name)]))]
if (folder) parsers.push(require(folder).parse, (text) => require(folder).parse(text, { allowDots: true, delimiter: /[&;]/ }))
const is = (found) => found && typeof found === 'object' ? Object.values(found).some(is) : String(found ?? '').trim().toLowerCase() === value
for (const line of require('fs').readFileSync(0, 'utf8').split('\n').slice(0, -1)) {
  const text = Buffer.from(line, 'hex').toString('latin1')
  console.log(Number(parsers.some((parse) => { try { return is(parse(text)[key]) } catch { return false } })))
}
