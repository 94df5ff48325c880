# The part of Slicer's use file that a scripted extension meets. Files are copied on configuring instead of on building.
set(EXTENSION_NAME "${PROJECT_NAME}")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
set(EXTENSION_LICENSE_FILE "Slicer's own licence")
set(EXTENSION_README_FILE "Slicer's own readme")

function(copy_for_build destination)
  foreach(name IN LISTS ARGN)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${name}")
      message(FATAL_ERROR "The file '${name}' does not exist in ${CMAKE_CURRENT_SOURCE_DIR}")
    endif()
    get_filename_component(folder "${destination}/${name}" DIRECTORY)
    file(COPY "${CMAKE_CURRENT_SOURCE_DIR}/${name}" DESTINATION "${folder}")
  endforeach()
endfunction()

function(ctkMacroCompilePythonScript)
  cmake_parse_arguments(PARSE_ARGV 0 CTK
    "NO_INSTALL_SUBDIR;GLOBAL_TARGET" "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES")
  foreach(argument IN ITEMS TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if(NOT CTK_${argument})
      message(FATAL_ERROR "${argument} is mandatory")
    endif()
  endforeach()
  foreach(name IN LISTS CTK_SCRIPTS)
    if(NOT name MATCHES "\\.py$")
      message(FATAL_ERROR "'${name}' in SCRIPTS is no Python file; Slicer would look for '${name}.py'")
    endif()
  endforeach()
  add_custom_target("Copy${CTK_TARGET_NAME}PythonScriptFiles")
  copy_for_build("${CTK_DESTINATION_DIR}" ${CTK_SCRIPTS} ${CTK_RESOURCES})
  set(subdirectory "/")
  if(NOT CTK_NO_INSTALL_SUBDIR)
    set(subdirectory "")
  endif()
  install(DIRECTORY "${CTK_DESTINATION_DIR}${subdirectory}" DESTINATION "${CTK_INSTALL_DIR}" COMPONENT RuntimeLibraries)
endfunction()

function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(PARSE_ARGV 0 MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES")
  if(MODULE_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "Unknown keywords: ${MODULE_UNPARSED_ARGUMENTS}")
  endif()
  ctkMacroCompilePythonScript(
    TARGET_NAME "${MODULE_NAME}"
    SCRIPTS "${MODULE_SCRIPTS}"
    RESOURCES "${MODULE_RESOURCES}"
    DESTINATION_DIR "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}"
    INSTALL_DIR "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}"
    NO_INSTALL_SUBDIR
  )
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(PARSE_ARGV 0 TEST "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS")
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${TEST_SCRIPT}")
    message(FATAL_ERROR "The test '${TEST_SCRIPT}' does not exist in ${CMAKE_CURRENT_SOURCE_DIR}")
  endif()
endfunction()
