# Slicer writes <extension>Config.cmake here, which other extensions would need; it asks for the extension's name only.
if(NOT EXTENSION_NAME)
  message(FATAL_ERROR "Include the use file first")
endif()
