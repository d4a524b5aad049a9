<?php
// Responds 1 to a form in which PHP finds the pair of the headers `X-Key` and `X-Value` in $_POST or $_REQUEST, as
// applications compare it: as it is, in any case, or after WordPress' sanitize_key. PHP parses forms only in a server.
$value = $_SERVER['HTTP_X_VALUE'];
$sanitized = fn ($text) => preg_replace('/[^a-z0-9_-]/', '', strtolower($text));
$is = function ($found) use ($value, $sanitized, &$is) {
    if (is_array($found)) {
        return (bool) array_filter($found, $is);
    }
    return in_array($value, [$found, strtolower(trim($found)), $sanitized($found)], true);
};
$found = array_filter([$_POST, $_REQUEST], fn ($form) => isset($form[$_SERVER['HTTP_X_KEY']]) && $is($form[$_SERVER['HTTP_X_KEY']]));
echo $found ? 1 : 0;
