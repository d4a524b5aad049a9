# Reads hexadecimal queries, one a line, and prints 1 for each in which Rack finds the pair of ARGV.
require "rack"
key, value = ARGV
is = ->(found) { found.is_a?(Array) ? found.any?(&is) : found.is_a?(Hash) ? found.values.any?(&is) : found.to_s.strip.casecmp?(value) }
STDIN.each_line do |line|
  query = [line.strip].pack("H*")
  found = [Rack::Utils.method(:parse_query), Rack::Utils.method(:parse_nested_query)].any? do |parse|
    begin
      is.call(parse.call(query)[key])
    rescue StandardError
      false
    end
  end
  puts found ? 1 : 0
end
