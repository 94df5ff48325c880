# Slicer packages here; this writes what it has understood of the extension to metadata.txt, a line `NAME=VALUE` each.
foreach(name IN ITEMS LICENSE_FILE README_FILE)
  if(NOT EXISTS "${EXTENSION_${name}}")
    message(FATAL_ERROR "EXTENSION_${name} does not exist: ${EXTENSION_${name}}")
  endif()
endforeach()

# Unquoted, as Slicer passes them on: a semicolon would cut the value.
function(write_metadata)
  set(names NAME HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  cmake_parse_arguments(EXTENSION "" "${names}" "" ${ARGN})
  set(text "")
  foreach(name IN LISTS names)
    string(APPEND text "${name}=${EXTENSION_${name}}\n")
  endforeach()
  file(WRITE "${CMAKE_BINARY_DIR}/metadata.txt" "${text}")
endfunction()

write_metadata(
  NAME ${EXTENSION_NAME}
  HOMEPAGE ${EXTENSION_HOMEPAGE}
  CATEGORY ${EXTENSION_CATEGORY}
  CONTRIBUTORS ${EXTENSION_CONTRIBUTORS}
  DESCRIPTION ${EXTENSION_DESCRIPTION}
  ICONURL ${EXTENSION_ICONURL}
  SCREENSHOTURLS ${EXTENSION_SCREENSHOTURLS}
  DEPENDS ${EXTENSION_DEPENDS}
)
