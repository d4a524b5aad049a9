<?php
// Reads hexadecimal queries, one a line, and prints 1 for each in which PHP finds a pair of `argv`, as applications compare
// it: as it is, in any case, or after WordPress' sanitize_key.
[, $key, $value] = $argv;
$sanitized = fn ($text) => preg_replace('/[^a-z0-9_-]/', '', strtolower($text));
$cleaned = fn ($text) => trim(preg_replace('/%[a-f0-9]{2}/i', '', strip_tags($text)));
$is = function ($found) use ($value, $sanitized, $cleaned, &$is) {
    if (is_array($found)) {
        return (bool) array_filter($found, $is);
    }
    $found = (string) $found;
    return in_array($value, [$found, strtolower($found), trim($found), $sanitized($found), $cleaned($found), strtolower($cleaned($found))], true);
};
while (($line = fgets(STDIN)) !== false) {
    parse_str(hex2bin(trim($line)), $pairs);
    echo (int) (isset($pairs[$key]) && $is($pairs[$key])), "\n";
}
