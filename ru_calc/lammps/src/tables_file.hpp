// SPDX-License-Identifier: GPL-2.0-only
// Part of a plugin for LAMMPS, whose headers it is built with; the rest of ru-calc does not depend on it.
//
// The file that `ru-calc lammps tables` writes, see tables_file.py: lines of text, then arrays of doubles.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "inference/weights.hpp"

namespace ru::lammps {

constexpr const char* kFormat = "ru-calc tables 1";

// CRC-32 of ISO 3309, as zlib computes it.
inline uint32_t crc32(const char* bytes, size_t n) {
    static const auto table = [] {
        std::array<uint32_t, 256> made{};
        for (uint32_t k = 0; k < 256; ++k) {
            made[k] = k;
            for (int bit = 0; bit < 8; ++bit) made[k] = made[k] & 1 ? 0xedb88320u ^ made[k] >> 1 : made[k] >> 1;
        }
        return made;
    }();
    uint32_t crc = ~0u;
    for (size_t k = 0; k < n; ++k) crc = table[(crc ^ uint8_t(bytes[k])) & 255] ^ crc >> 8;
    return ~crc;
}

struct TablesFile {
    std::string model, sha256, dtype;
    std::map<std::string, std::vector<double>> arrays;

    double number(const std::string& name) const {
        const auto at = arrays.find(name);
        if (at == arrays.end() || at->second.size() != 1) throw std::runtime_error("lacks the number " + name);
        return at->second[0];
    }
    inference::Spec spec() const {
        return {[this](const std::string& name) {
                    const auto at = arrays.find(name);
                    return at == arrays.end() ? std::vector<double>() : at->second;
                },
                [this](const std::string& name) { return number(name); }};
    }
};

// From the bytes of a file; what is thrown continues a sentence that begins with its name.
inline TablesFile parse_tables(const std::string& bytes) {
    std::istringstream text(bytes);
    std::string line, key;
    std::getline(text, line);
    if (line.rfind("ru-calc tables ", 0) != 0) throw std::runtime_error("is no table file of ru-calc");
    if (line != kFormat)
        throw std::runtime_error("has the format '" + line + "', and this plugin reads '" + kFormat + "'");
    TablesFile file;
    std::string crc;
    std::getline(text, line);
    std::istringstream(line) >> key >> crc;
    const size_t from = size_t(text.tellg());
    if (key != "crc32" || text.eof()) throw std::runtime_error("is cut off");
    char found[9];
    std::snprintf(found, sizeof found, "%08x", crc32(bytes.data() + from, bytes.size() - from));
    if (crc != found) throw std::runtime_error("is damaged: its checksum is " + std::string(found) + ", not " + crc);
    std::vector<std::pair<std::string, size_t>> sizes;
    while (std::getline(text, line) && line != "end") {
        std::istringstream words(line);
        words >> key;
        std::string* const field = key == "model"    ? &file.model
                                   : key == "sha256" ? &file.sha256
                                   : key == "dtype"  ? &file.dtype
                                                     : nullptr;
        std::string name;
        words >> name;
        size_t size = 0;
        if (field) *field = name;
        else if (key == "array" && words >> size) sizes.emplace_back(name, size);
        else throw std::runtime_error("has a line that is not understood: " + line);
    }
    size_t at = text.eof() ? bytes.size() : size_t(text.tellg());
    for (const auto& [name, size] : sizes) {
        if (size > (bytes.size() - at) / sizeof(double)) throw std::runtime_error("ends within " + name);
        std::vector<double>& values = file.arrays[name];
        values.resize(size);
        std::memcpy(values.data(), bytes.data() + at, size * sizeof(double));
        at += size * sizeof(double);
    }
    return file;
}

}  // namespace ru::lammps
